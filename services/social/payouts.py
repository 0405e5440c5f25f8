"""Pays the rewards of battles out: rows that are unpaid, credited by gamification, until all are."""

import asyncio
import contextlib
import hashlib
from decimal import Decimal
from functools import partial
from sqlite3 import Row
from typing import Protocol, TypeVar

import structlog
from astra.gamification.v1.gamification_service_pb2 import CreditShardsRequest, CreditShardsResponse
from google.protobuf.message import Message

from services.mesh import Mesh
from services.runtime.errors import MeshError, Unavailable
from services.runtime.money import to_money
from services.runtime.peers import Peers
from services.runtime.store import Store
from services.runtime.transaction import Reader
from services.social.battle_store import SHARDS, mark_paid

CREDIT = "/astra.gamification.v1.GamificationService/CreditShards"
AT_ONCE = 100
IDLE_SECONDS = 60.0
RETRY_SECONDS = 5.0
"""How long to wait after a refusal or an outage."""

Reply = TypeVar("Reply", bound=Message)
log = structlog.get_logger()


class Credits(Protocol):
    """What pays out; `Peers` outside of tests."""

    async def call(self, path: str, request: Message, reply: type[Reply]) -> Reply: ...


async def run_payouts(store: Store, mesh: Mesh, stop: asyncio.Event) -> None:
    """Pays out whatever is unpaid until `stop`."""
    peers = Peers(mesh, "social")
    try:
        while not stop.is_set():
            seen = store.wakeups.version
            unpaid = await pay_out(store, peers)
            await _wait(store, None if unpaid else seen, stop)
    finally:
        await peers.close()


async def pay_out(store: Store, peers: Credits) -> bool:
    """Pays out what is unpaid. Returns whether something still is.

    Several processes may do this at once, and any may die in between: a reward has a request id of its own, under which
    gamification credits it once for ever.
    """
    refused, after = False, ("", "")
    while rows := await store.read(lambda db: _unpaid(db, after)):  # noqa: B023 - called before `after` moves
        for row in rows:
            after = battle_id, user_id = row["battle_id"], row["user_id"]
            request = CreditShardsRequest(
                user_id=user_id,
                request_id=request_id_of(battle_id, user_id),
                amount=to_money(Decimal(row["reward"]), SHARDS),
                purpose=f"clan battle {battle_id}",
            )
            try:
                await peers.call(CREDIT, request, CreditShardsResponse)
            except Unavailable:
                return True
            except MeshError as error:
                # One that is refused must not hold up the others.
                log.error("payout.refused", battle_id=battle_id, code=error.code, reason=error.reason)
                refused = True
                continue
            await store.write(partial(mark_paid, battle_id=battle_id, user_id=user_id))
    return refused


def request_id_of(battle_id: str, user_id: str) -> str:
    """Returns the request id of one reward; the two ids themselves may be too long for one."""
    return f"battle-{hashlib.sha256(f'{battle_id}/{user_id}'.encode()).hexdigest()[:40]}"


def _unpaid(db: Reader, after: tuple[str, str]) -> list[Row]:
    return db.all(
        "SELECT * FROM fighter WHERE reward > 0 AND paid = 0 AND (battle_id, user_id) > (?, ?)"
        " ORDER BY battle_id, user_id LIMIT ?",
        *after,
        AT_ONCE,
    )


async def _wait(store: Store, seen: int | None, stop: asyncio.Event) -> None:
    """Waits for `stop`, for a commit after one that was seen, or for the time to pass."""
    waits = [asyncio.ensure_future(stop.wait())]
    if seen is not None:
        waits.append(asyncio.ensure_future(store.wakeups.after(seen)))  # type: ignore[arg-type]
    try:
        seconds = IDLE_SECONDS if seen is not None else RETRY_SECONDS
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*waits, return_exceptions=True)
