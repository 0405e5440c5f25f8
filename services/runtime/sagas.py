"""Work of several steps that outlives its process: rows `saga(kind, key)`, carried on under a lease by who finds them.

The row is made in the transaction that begins the work and removed in the one that ends it. What comes in between may
be repeated: a call to another party takes a request id derived from the key, and the last transaction checks the state.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from sqlite3 import Row

import structlog

from services.runtime.context import Context, enter_context
from services.runtime.errors import Unavailable
from services.runtime.logs import bind_chain
from services.runtime.store import Store
from services.runtime.timers import IDLE_SECONDS, wait_for_commit
from services.runtime.transaction import Reader, Tx

Step = Callable[[str], Awaitable[None]]
"""Carries the work for a key on; its last transaction calls `end`. Raises `Unavailable` to be tried again later."""

STEP_SECONDS = 15.0
"""How long one attempt may take."""
LEASE_MS = 20_000
"""How long nobody else carries it on; longer than an attempt."""
RETRY_FIRST_MS, RETRY_CAP_MS = 200, 30_000
WORKERS = 64
"""How many are carried on at once in a process."""
OUTCOME_SECONDS = 3.0
"""How long a repeated call waits for the outcome of the first one."""
DRAIN_SECONDS = 5.0
"""How long attempts in hand may take after a stop; the rest is carried on at the next start."""

log = structlog.get_logger()


def begin(tx: Tx, kind: str, key: str, *, leased: bool) -> None:
    """Makes the row, in the chain of the command. `leased`: the beginner itself calls `carry_on` after the commit."""
    context = tx.context
    tx.execute(
        "INSERT INTO saga VALUES (?, ?, ?, 0, ?, ?, ?)",
        kind,
        key,
        tx.now_ms + (LEASE_MS if leased else 0),
        context.correlation_id,
        context.causation_id,
        context.traceparent,
    )


def end(tx: Tx, kind: str, key: str) -> bool:
    """Removes the row. Returns False if another attempt has ended it before: then the caller changes nothing."""
    return tx.execute("DELETE FROM saga WHERE kind = ? AND key = ?", kind, key).rowcount == 1


class Sagas:
    """Carries sagas on: in the call that began one, and in a worker for all that are left."""

    def __init__(self, store: Store, steps: Mapping[str, Step]) -> None:
        self._store = store
        self._steps = steps
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def carry_on(self, kind: str, key: str) -> None:
        """Makes an attempt under the lease that `begin` or the worker took. What fails is tried again by the worker."""
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await self._steps[kind](key)
        except (Unavailable, TimeoutError) as error:
            log.info("saga.waits", kind=kind, key=key, error=str(error))
        except Exception:
            log.exception("saga.failed", kind=kind, key=key)
        else:
            return
        # If not even this can be stored, the lease runs out by itself.
        with suppress(Unavailable):
            await self._store.write(lambda tx: _postpone(tx, kind, key))

    async def outcome(self, kind: str, key: str) -> None:
        """Waits until it has ended, but no longer than OUTCOME_SECONDS."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OUTCOME_SECONDS):
                while True:
                    seen = self._store.wakeups.version
                    if self._store.read_now(lambda db: _load(db, kind, key)) is None:
                        return
                    await self._store.wakeups.after(seen)

    async def run(self, stop: asyncio.Event) -> None:
        """Carries on what nobody holds, until `stop`; then finishes what is in hand."""
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                seen = self._store.wakeups.version
                wait_seconds = IDLE_SECONDS
                for row in await self._store.read(_next):
                    left_ms = row["take_ms"] - self._store.clock()
                    if left_ms > 0:
                        wait_seconds = min(wait_seconds, left_ms / 1000)
                        break
                    if len(self._running) < WORKERS and await self._store.write(partial(_take, row=row)):
                        self._running[row["kind"], row["key"]] = tasks.create_task(self._work(row))
                await wait_for_commit(self._store, seen, stop, wait_seconds)
            if self._running:
                _, late = await asyncio.wait(list(self._running.values()), timeout=DRAIN_SECONDS)
                for task in late:
                    task.cancel()

    async def _work(self, row: Row) -> None:
        enter_context(
            Context(
                correlation_id=row["correlation_id"],
                causation_id=row["causation_id"],
                traceparent=row["traceparent"],
            )
        )
        bind_chain(row["correlation_id"], row["traceparent"])
        try:
            await self.carry_on(row["kind"], row["key"])
        finally:
            self._running.pop((row["kind"], row["key"]), None)


def _load(db: Reader, kind: str, key: str) -> Row | None:
    return db.one("SELECT * FROM saga WHERE kind = ? AND key = ?", kind, key)


def _next(db: Reader) -> list[Row]:
    return db.all("SELECT * FROM saga ORDER BY take_ms LIMIT ?", WORKERS)


def _take(tx: Tx, row: Row) -> bool:
    """Takes the lease, unless somebody else has in between."""
    taken = tx.execute(
        "UPDATE saga SET take_ms = ? WHERE kind = ? AND key = ? AND take_ms = ?",
        tx.now_ms + LEASE_MS,
        row["kind"],
        row["key"],
        row["take_ms"],
    )
    return taken.rowcount == 1


def _postpone(tx: Tx, kind: str, key: str) -> None:
    """Gives the lease back; the next attempt comes the later, the more there were."""
    row = _load(tx, kind, key)
    if row is not None:
        delay_ms = min(RETRY_FIRST_MS * 2 ** min(row["attempts"], 20), RETRY_CAP_MS)
        tx.execute(
            "UPDATE saga SET take_ms = ?, attempts = attempts + 1 WHERE kind = ? AND key = ?",
            tx.now_ms + delay_ms,
            kind,
            key,
        )
