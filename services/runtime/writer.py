"""The single writer of a database in this process: a thread that commits whatever waits together.

Each command runs in a savepoint of its own, so a refused one does not hurt its neighbours, and all share one fsync.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from services.runtime import metrics
from services.runtime.clock import Clock
from services.runtime.context import Context
from services.runtime.errors import Unavailable
from services.runtime.transaction import Recorder, Tx
from services.runtime.turns import Turns
from services.runtime.wakeups import Hints, Wakeups

TURN_WORKS = 256
TURN_SECONDS = 0.005
"""A turn ends after so many works or so long, so that other processes get theirs."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Job:
    work: Callable[[Tx], Any]
    context: Context
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None
    on_commit: list[Callable[[], None]] | None = None


class Writer:
    """Takes commands from the event loop it is made on, and delivers their results there after the commit."""

    def __init__(
        self, connection: sqlite3.Connection, *, turns: Turns, recorder: Recorder, wakeups: Wakeups, hints: Hints
    ) -> None:
        self._connection = connection
        self._turns = turns
        self._recorder = recorder
        self._clock: Clock = recorder.clock
        self._wakeups = wakeups
        self._hints = hints
        metrics.COMMITS_FAILED.labels(recorder.domain)  # from 0: an increase from nothing would not be seen as one
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write_turns, name=f"{recorder.domain}-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Tx], Any], context: Context) -> asyncio.Future[Any]:
        """Queues a command. Its future is done after the commit; cancelled before its turn, it is not run."""
        job = _Job(work, context, self._loop.create_future())
        self._jobs.put(job)
        return job.future

    async def stop(self) -> None:
        """Commits what waits, then ends the thread."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _write_turns(self) -> None:
        """The thread: one transaction a turn."""
        stop = False
        while not stop:
            first = self._jobs.get()
            if first is None:
                break
            done: list[_Job] = []
            try:
                with self._turns.turn():
                    began = time.perf_counter()
                    stop = self._commit_turn(first, done)
                commits, seconds, works = metrics.of_commits(self._recorder.domain)
                commits.inc()
                seconds.observe(time.perf_counter() - began)
                works.observe(len(done))
            except Exception as error:
                domain = self._recorder.domain
                metrics.COMMITS_FAILED.labels(domain).inc()
                log.error("store.commit_failed", domain=domain, error=repr(error), works=len(done))
                refusal = Unavailable(f"{domain} could not store it; try again", reason="STORE_UNAVAILABLE")
                done = done or [first]
                for job in done:
                    job.result, job.error, job.on_commit = None, refusal, None
                if self._connection.in_transaction:
                    self._connection.rollback()
            # Callers first: they need not wait for the hints to go out.
            self._loop.call_soon_threadsafe(self._deliver, done)
            self._hints.send()

    def _commit_turn(self, first: _Job, done: list[_Job]) -> bool:
        """Runs what waits and commits it. Returns whether the writer is to stop."""
        self._connection.execute("BEGIN IMMEDIATE")
        end = time.monotonic() + TURN_SECONDS
        job: _Job | None = first
        stop = False
        while job is not None:
            done.append(job)
            self._attempt(job)
            if len(done) >= TURN_WORKS or time.monotonic() >= end:
                break
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            stop = job is None
        self._connection.execute("COMMIT")
        return stop

    def _attempt(self, job: _Job) -> None:
        if job.future.cancelled():
            return
        self._connection.execute("SAVEPOINT work")
        tx = Tx(self._connection, self._recorder, job.context, self._clock())
        try:
            job.result = job.work(tx)
            job.on_commit = tx.on_commit
        except Exception as error:
            job.error = error
            self._connection.execute("ROLLBACK TO work")
        self._connection.execute("RELEASE work")

    def _deliver(self, done: list[_Job]) -> None:
        self._wakeups.notify()
        for job in done:
            for callback in job.on_commit or ():
                callback()
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
