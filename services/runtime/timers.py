"""Timers: rows `due(kind, key, at_ms)` taken in a writer transaction, so that each fires once over all processes."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog

from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx

Timer = Callable[[Tx, str], None]
"""Does what is due for a key, in the transaction that takes the row."""

BATCH = 100
IDLE_SECONDS = 60.0
RETRY_SECONDS = 1.0

log = structlog.get_logger()


def set_timer(tx: Tx, kind: str, key: str, at_ms: int) -> None:
    """Sets a timer; one that is set already for this kind and key keeps its time."""
    tx.execute("INSERT OR IGNORE INTO due VALUES (?, ?, ?)", kind, key, at_ms)


async def run_timers(store: Store, timers: Mapping[str, Timer], stop: asyncio.Event) -> None:
    """Fires what is due until `stop`. A timer that fails is tried again a second later and blocks no other."""
    while not stop.is_set():
        seen = store.wakeups.version
        rows = await store.read(_due)
        now = store.clock()
        wait_seconds = IDLE_SECONDS
        for kind, key, at_ms in rows:
            if kind not in timers:
                continue
            if at_ms > now:
                wait_seconds = min(wait_seconds, (at_ms - now) / 1000)
                break
            try:
                await store.write(lambda tx, kind=kind, key=key: _fire(tx, timers[kind], kind, key))  # type: ignore[misc]
            except Exception:
                log.exception("timer.failed", domain=store.domain, kind=kind, key=key)
                wait_seconds = RETRY_SECONDS
        else:
            if len(rows) == BATCH:
                wait_seconds = min(wait_seconds, RETRY_SECONDS)
        await wait_for_commit(store, seen, stop, wait_seconds)


def _due(db: Reader) -> list[tuple[str, str, int]]:
    return [tuple(row) for row in db.all("SELECT kind, key, at_ms FROM due ORDER BY at_ms LIMIT ?", BATCH)]


def _fire(tx: Tx, timer: Timer, kind: str, key: str) -> None:
    taken = tx.execute("DELETE FROM due WHERE kind = ? AND key = ? AND at_ms <= ?", kind, key, tx.now_ms)
    if taken.rowcount:
        timer(tx, key)


async def wait_for_commit(store: Store, seen: int, stop: asyncio.Event, seconds: float) -> None:
    """Waits for a commit, for `stop`, or for the time to pass."""
    waits = {asyncio.ensure_future(store.wakeups.after(seen)), asyncio.ensure_future(stop.wait())}
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*waits, return_exceptions=True)
