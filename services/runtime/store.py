"""One database of one domain: commands on its writer, queries on its readers, wake-ups after each commit.

A command is a plain function `work(tx) -> result`; `command` and `react` run it once per request id or event.
"""

import asyncio
import os
import secrets
import socket
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from services.runtime import inbox
from services.runtime.clock import Clock, Ids, uuid7, wall_clock
from services.runtime.context import Context, current_context
from services.runtime.delivery import Delivery
from services.runtime.errors import Unavailable
from services.runtime.inbox import Apply, Effect
from services.runtime.request_ids import once_per_request
from services.runtime.transaction import Reader, Recorder, Tx
from services.runtime.turns import Turns
from services.runtime.wakeups import Hints, Wakeups
from services.runtime.writer import TURN_SECONDS, TURN_WORKS, Writer

_BUSY_MS = 10_000
_CHECKPOINT_PAGES = 4_000
"""Pages in the log before they are moved to the database. With SQLite's 1,000 that was the better part of a commit."""
_READERS = 2
_EACH_ITS_OWN = Context(correlation_id="")
"""Of a batch of reactions, each of which has a context of its own."""

T = TypeVar("T")
Reply = TypeVar("Reply", bound=Message)


class Store:
    """Opens a database, creating its tables. Made and closed on the event loop that uses it."""

    def __init__(
        self, path: Path, *, domain: str, schema: str = "", clock: Clock = wall_clock, ids: Ids = uuid7
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.domain = domain
        self.clock = clock
        producer = f"{domain}@{socket.gethostname()}:{os.getpid()}"
        recorder = Recorder(domain=domain, producer=producer, clock=clock, ids=ids)
        self._turns = Turns(path)
        with self._turns.turn():
            connection = _connect(path)
            connection.executescript(Path(__file__).with_name("schema.sql").read_text() + schema)
            self._request_key = _request_key(path)
        self._loop = asyncio.get_running_loop()
        self.wakeups = Wakeups(path)
        self._hints = Hints(path.parent, own=self.wakeups.path)
        self._local = threading.local()
        self._connections = [connection]
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix=f"{domain}-reader")
        self._closed = False
        self._writer = Writer(connection, turns=self._turns, recorder=recorder, wakeups=self.wakeups, hints=self._hints)

    async def write(self, work: Callable[[Tx], T], *, context: Context | None = None) -> T:
        """Runs a command and returns its result after the commit is on disk. Raises what the command raises.

        A caller that is cancelled before its turn leaves nothing behind; after it, the commit stands.
        """
        if self._closed:
            raise Unavailable(f"{self.domain} is stopping; try again", reason="STOPPING")
        result: T = await self._writer.submit(work, context or current_context())
        return result

    async def command(
        self, request: Message, *, rpc: str, subject: str, reply: type[Reply], work: Callable[[Tx], Reply]
    ) -> Reply:
        """Runs a write of an rpc, once per request id (see `once_per_request`)."""
        return await self.write(
            lambda tx: once_per_request(
                tx, request, rpc=rpc, subject=subject, key=self._request_key, reply=reply, work=work
            )
        )

    async def react(self, group: str, delivery: Delivery, apply: Apply) -> bool:
        """Applies an event for a group; inbox, state and outbox commit together.

        Returns False, and changes nothing, if the group has applied it before. Raises what `apply` raises.
        """
        (effect,) = await self.react_all(group, [(delivery, apply)])
        if isinstance(effect, Exception):
            raise effect
        return effect

    async def react_all(self, group: str, given: Sequence[tuple[Delivery, Apply]]) -> list[Effect]:
        """Applies events for a group in their order, as `react` does each, in as few commits as turns allow.

        Returns what became of each: one that fails changes nothing, and holds up no other.
        """
        effects: list[Effect] = []
        while len(effects) < len(given):
            # By the turn: a batch, however long, lets callers and other processes in between.
            turn = given[len(effects) : len(effects) + TURN_WORKS]
            try:
                effects += await self.write(
                    partial(inbox.apply_all, group=group, given=turn, seconds=2 * TURN_SECONDS), context=_EACH_ITS_OWN
                )
            except Exception as error:
                effects += [error] * len(turn)
        return effects

    async def park(self, group: str, stream: str, ordinal: int) -> None:
        """Notes that a group gives an event up; its dead letter keeps it."""
        await self.write(lambda tx: inbox.mark_dead(tx, group, stream, ordinal))

    async def read(self, query: Callable[[Reader], T]) -> T:
        """Runs a query on a reader thread, in a snapshot of its own."""
        return await self._loop.run_in_executor(self._readers, self._read, query)

    def read_now(self, query: Callable[[Reader], T]) -> T:
        """Runs a short, indexed query on the calling thread."""
        return self._read(query)

    async def close(self) -> None:
        """Commits what waits, then closes. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        await self._writer.stop()
        self._readers.shutdown()
        self.wakeups.close()
        self._hints.close()
        self._turns.close()
        for connection in self._connections:
            connection.close()

    def _read(self, query: Callable[[Reader], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connect(self.path, read_only=True)
            self._connections.append(connection)
        connection.execute("BEGIN")
        try:
            return query(Reader(connection))
        finally:
            connection.execute("ROLLBACK")


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1000)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _request_key(path: Path) -> bytes:
    """Returns the key of the request fingerprints, a file beside the database; makes it at first use."""
    file = path.with_suffix(".request-key")
    if not file.exists():
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as written:
            written.write(secrets.token_bytes(32))
            written.flush()
            os.fsync(written.fileno())
    return file.read_bytes()
