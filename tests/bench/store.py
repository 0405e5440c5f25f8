"""Benchmark of the store: group commit against a transaction a request, and three processes on one file.

Both sides do the same work, `trade`, with the same durability (SQLite, WAL, synchronous=FULL) on the same machine,
alternating in one run. The peer is what one would write by hand: a thread with a connection, and for each request
BEGIN IMMEDIATE, the work, COMMIT. It has no other process to share with, no savepoints and no wake-ups.
"""

import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from astra.trading.v1.events_pb2 import TradeExecuted

from services.mesh import ROOT
from services.runtime.clock import uuid7, wall_clock
from services.runtime.context import Context, current_context
from services.runtime.store import Store
from services.runtime.transaction import Recorder, Tx
from tests.bench.results import Result, report

ROUNDS = 5
SECONDS = 1.0
"""How long each side of a round runs."""
SCHEMA = "CREATE TABLE IF NOT EXISTS portfolio (user_id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);"
PROCESSES = 3
CALLERS = 16
"""Callers in each of the processes."""


def trade(tx: Tx) -> None:
    """A small command: some state and one event."""
    tx.execute("INSERT INTO portfolio VALUES (?, 1) ON CONFLICT DO UPDATE SET balance = balance + 1", tx.now_ms % 1000)
    tx.record(TradeExecuted(trade_id="t", user_id="u", symbol="STRK"))


class TransactionEach:
    """The peer: a transaction for each request."""

    def __init__(self, path: Path) -> None:
        self._store = Store(path, domain="trading", schema=SCHEMA)  # makes the tables; its writer stays idle
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = FULL")
        self._recorder = Recorder(domain="trading", producer="bench", clock=wall_clock, ids=uuid7)
        self._thread = ThreadPoolExecutor(1)

    async def write(self, work: Callable[[Tx], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work, current_context())

    def _transact(self, work: Callable[[Tx], None], context: Context) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        work(Tx(self._connection, self._recorder, context, wall_clock()))
        self._connection.execute("COMMIT")

    async def close(self) -> None:
        self._thread.shutdown()
        self._connection.close()
        await self._store.close()


def group_commit(path: Path) -> Store:
    return Store(path, domain="trading", schema=SCHEMA)


async def commits_per_second(store: Store | TransactionEach, *, callers: int) -> float:
    """Returns how many commands a number of callers get committed, one after the other each."""
    end = time.monotonic() + SECONDS

    async def call() -> int:
        done = 0
        while time.monotonic() < end:
            await store.write(trade)
            done += 1
        return done

    begun = time.monotonic()
    total = sum(await asyncio.gather(*(call() for _ in range(callers))))
    elapsed = time.monotonic() - begun
    await store.close()
    return total / elapsed


async def latencies(path: Path) -> list[list[float]]:
    """Returns the milliseconds of each command of each caller of this process."""
    store = Store(path, domain="trading", schema=SCHEMA)
    end = time.monotonic() + 3 * SECONDS

    async def call() -> list[float]:
        taken = []
        while (begun := time.monotonic()) < end:
            await store.write(trade)
            taken.append((time.monotonic() - begun) * 1000)
        return taken

    result = await asyncio.gather(*(call() for _ in range(CALLERS)))
    await store.close()
    return list(result)


async def slowest_p99_ms(folder: Path) -> tuple[float, list[int]]:
    """Returns the p99 of the slowest caller of three processes on one file, and how much each process got done."""
    command = [sys.executable, "-m", "tests.bench.store", str(folder / "shared.db")]
    running = [
        await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    outputs = [json.loads((await process.communicate())[0]) for process in running]
    p99s = [statistics.quantiles(caller, n=100)[98] for process in outputs for caller in process]
    return max(p99s), [sum(map(len, process)) for process in outputs]


async def main() -> None:
    sides: dict[str, tuple[Callable[[Path], Store | TransactionEach], int]] = {
        "group commit, 64 callers": (group_commit, 64),
        "transaction a request, 64 callers": (TransactionEach, 64),
        "group commit, 1 caller": (group_commit, 1),
        "transaction a request, 1 caller": (TransactionEach, 1),
    }
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, (make, callers) in sides.items():
            with tempfile.TemporaryDirectory(dir=_build_dir()) as folder:
                samples[name].append(await commits_per_second(make(Path(folder, "bench.db")), callers=callers))
    with tempfile.TemporaryDirectory(dir=_build_dir()) as folder:
        p99, shares = await slowest_p99_ms(Path(folder))
    median = {name: statistics.median(values) for name, values in samples.items()}
    many, many_each, one, one_each = median.values()
    results = [
        *(Result(name=name, value=value, unit="commits/s") for name, value in median.items()),
        Result(name="ratio with 64 callers", value=many / many_each, unit="×", goal=">= 6"),
        Result(name="ratio with 1 caller", value=one / one_each, unit="×", goal=">= 0.8"),
        Result(name="slowest caller of three processes, p99", value=p99, unit="ms", goal="<= 100"),
    ]
    report("store", results, {"commits_per_second": samples, "commits_by_process": shares})


def _build_dir() -> Path:
    """Returns the folder for databases: on the disk the checkout is on, since a temporary one may be in memory."""
    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(asyncio.run(latencies(Path(sys.argv[1])))))
    else:
        asyncio.run(main())
