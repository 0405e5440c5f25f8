"""Tokens that are no longer accepted: what AccountStatusChanged says of each user, followed in the stream itself.

A process remembers its place in the stream, and what it learned, in its database: a restart forgets nothing, and while
Redis is away the process keeps to what it knows. Asking is a look-up in a dictionary.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from astra.event.v1.envelope_pb2 import Envelope
from astra.user.v1.events_pb2 import AccountStatusChanged
from google.protobuf.message import DecodeError
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from services import contracts
from services.runtime.context import Caller
from services.runtime.errors import Unauthenticated, Unavailable
from services.runtime.store import Store
from services.runtime.transaction import Tx

STREAM = contracts.stream_of(AccountStatusChanged)
EVERYONE = ""
KEPT_MS = 24 * 3600 * 1000
"""How long a rule is kept: many times the life of any access token, after which there is nothing left to refuse."""
CATCH_UP_SECONDS = 5.0
"""How long a start waits for Redis; without it the process serves by the rules it remembers."""
BLOCK_MS = 1_000
RETRY_SECONDS = 0.2
PAGE = 500

Id = tuple[int, int]
log = structlog.get_logger()


class Revocations:
    """The rules, in memory: tokens of a user issued before a moment are refused."""

    def __init__(self) -> None:
        self._not_before_ms: dict[str, int] = {}
        self._changed = asyncio.Event()

    def note(self, user_id: str, not_before_ms: int) -> None:
        """Adds a rule; the latest moment of a user counts, in whatever order they come."""
        self._not_before_ms[user_id] = max(not_before_ms, self._not_before_ms.get(user_id, 0))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def forget(self, before_ms: int) -> None:
        """Drops the rules that ask for no more than this moment."""
        self._not_before_ms = {user: ms for user, ms in self._not_before_ms.items() if ms >= before_ms}

    def refuses(self, caller: Caller) -> bool:
        """Tells whether a user's token was issued too early."""
        rules = self._not_before_ms
        if not rules or not caller.user_id:
            return False
        return caller.token_ms < max(rules.get(caller.user_id, 0), rules.get(EVERYONE, 0))

    def check(self, caller: Caller) -> None:
        """Raises `Unauthenticated` `TOKEN_REVOKED` for a token that was issued too early."""
        if self.refuses(caller):
            raise Unauthenticated("this token is no longer accepted; sign in again", reason="TOKEN_REVOKED")

    async def refusal_of(self, caller: Caller) -> None:
        """Waits, for ever if need be, until a caller's token is refused. Raises `Unauthenticated` then."""
        while True:
            changed = self._changed
            self.check(caller)
            await changed.wait()


class Follower:
    """Keeps the rules of one service up to date, from the Redis stream."""

    def __init__(self, store: Store, redis: Redis) -> None:
        self.revocations = Revocations()
        self._store = store
        self._redis: Any = redis
        self._position = store.read_now(
            lambda db: tuple(db.one("SELECT ms, ordinal FROM revocation_position") or (0, 0))
        )
        for row in store.read_now(lambda db: db.all("SELECT user_id, not_before_ms FROM revocation")):
            self.revocations.note(row["user_id"], row["not_before_ms"])
        self._caught_up = asyncio.Event()

    async def catch_up(self, *, seconds: float = CATCH_UP_SECONDS) -> bool:
        """Waits until everything that was in the stream is known; not for ever. Returns whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._caught_up.wait()
        if not self._caught_up.is_set():
            log.warning("revocations.behind", domain=self._store.domain, position=_text(self._position))
        return self._caught_up.is_set()

    async def run(self, stop: asyncio.Event) -> None:
        """Follows until the event is set."""
        away = False
        while not stop.is_set():
            try:
                await self._step()
                away = False
            except (RedisError, OSError, Unavailable) as error:
                if not away:
                    log.warning("revocations.wait", domain=self._store.domain, error=str(error))
                away = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_SECONDS):
                        await stop.wait()

    async def _step(self) -> None:
        """Reads the next entries; blocks for them once everything is known that was there."""
        block_ms = BLOCK_MS if self._caught_up.is_set() else None
        answer = await self._redis.xread({STREAM: _text(self._position)}, count=PAGE, block=block_ms)
        entries = answer[0][1] if answer else ()
        if entries:
            await self._take([(_parse(id_.decode()), fields.get(b"e", b"")) for id_, fields in entries])
        elif not self._caught_up.is_set():
            await self._check_end()
            self._caught_up.set()

    async def _take(self, entries: Sequence[tuple[Id, bytes]]) -> None:
        rules: dict[str, int] = {}
        last = self._position
        for id_, envelope in entries:
            if id_[1] != last[1] + 1:
                self._distrust(rules, id_[0])
            last = id_
            if rule := _rule_of(id_, envelope):
                rules[rule[0]] = max(rule[1], rules.get(rule[0], 0))
        await self._keep(rules, last)

    async def _check_end(self) -> None:
        """Notices entries that were trimmed away before this process saw them, with none after them."""
        try:
            info = await self._redis.xinfo_stream(STREAM)
        except ResponseError:
            return  # there is no such stream yet
        end = _parse(info["last-generated-id"].decode())
        if end > self._position and not await self._redis.xread({STREAM: _text(self._position)}, count=1):
            rules: dict[str, int] = {}
            self._distrust(rules, end[0])
            await self._keep(rules, end)

    def _distrust(self, rules: dict[str, int], ms: int) -> None:
        """Refuses whatever is older than a gap: whom the missing entries spoke of is not known."""
        log.warning("revocations.gap", domain=self._store.domain, position=_text(self._position))
        rules[EVERYONE] = max(ms, rules.get(EVERYONE, 0))

    async def _keep(self, rules: dict[str, int], last: Id) -> None:
        # In force at once; a commit that fails is repeated, since the position stays.
        for user_id, not_before_ms in rules.items():
            self.revocations.note(user_id, not_before_ms)
        oldest_ms = self._store.clock() - KEPT_MS
        self.revocations.forget(oldest_ms)
        await self._store.write(lambda tx: _save(tx, rules.items(), last, oldest_ms))
        self._position = last


def _save(tx: Tx, rules: Iterable[tuple[str, int]], last: Id, oldest_ms: int) -> None:
    for user_id, not_before_ms in rules:
        tx.execute(
            "INSERT INTO revocation VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET not_before_ms = max(not_before_ms, excluded.not_before_ms)",
            user_id,
            not_before_ms,
        )
    tx.execute("DELETE FROM revocation WHERE not_before_ms < ?", oldest_ms)
    # Another process of the same database may be ahead; its place is no nearer to the start.
    tx.execute(
        "INSERT INTO revocation_position VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET ms = excluded.ms,"
        " ordinal = excluded.ordinal WHERE (excluded.ms, excluded.ordinal) > (ms, ordinal)",
        *last,
    )


def _rule_of(id_: Id, envelope: bytes) -> tuple[str, int] | None:
    try:
        event = AccountStatusChanged.FromString(Envelope.FromString(envelope).data)
    except DecodeError:
        log.error("revocations.bad_entry", stream=STREAM, id=_text(id_))
        return None
    return (event.user_id, event.not_before.ToMilliseconds()) if event.user_id else None


def _parse(text: str) -> Id:
    ms, _, ordinal = text.partition("-")
    return int(ms), int(ordinal)


def _text(position: Id) -> str:
    return f"{position[0]}-{position[1]}"
