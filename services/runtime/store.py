"""One database of one domain: a single writer thread with group commit, readers, and wake-ups.

A command is a plain function `work(tx) -> result`. Whatever waits is committed together, each in a savepoint of its
own: a refused command does not hurt its neighbours, and all of them share one fsync.
"""

import asyncio
import os
import queue
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
from google.protobuf.message import Message

from services.runtime import inbox
from services.runtime.clock import Clock, Ids, uuid7, wall_clock
from services.runtime.context import Context, current_context
from services.runtime.delivery import Delivery
from services.runtime.errors import Unavailable
from services.runtime.transaction import Reader, Recorder, Tx
from services.runtime.turns import Turns
from services.runtime.wakeups import Hints, Wakeups

TURN_WORKS = 256
TURN_SECONDS = 0.005
"""A turn ends after so many works or so long, so that other processes get theirs."""

_BUSY_MS = 10_000
_READERS = 2

log = structlog.get_logger()
T = TypeVar("T")
Reply = TypeVar("Reply", bound=Message)


@dataclass(slots=True)
class _Job:
    work: Callable[[Tx], Any]
    context: Context
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None
    on_commit: list[Callable[[], None]] | None = None


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
        self._recorder = Recorder(domain=domain, producer=producer, clock=clock, ids=ids)
        self._turns = Turns(path)
        with self._turns.turn():
            self._writer = _connect(path)
            self._writer.executescript(Path(__file__).with_name("schema.sql").read_text() + schema)
            self._request_key = _request_key(path)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self.wakeups = Wakeups(path)
        self._hints = Hints(path.parent, own=self.wakeups.path)
        self._local = threading.local()
        self._connections = [self._writer]
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix=f"{domain}-reader")
        self._closed = False
        self._thread = threading.Thread(target=self._write_turns, name=f"{domain}-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[Tx], T], *, context: Context | None = None) -> T:
        """Runs a command and returns its result after the commit is on disk. Raises what the command raises.

        A caller that is cancelled before its turn leaves nothing behind; after it, the commit stands.
        """
        if self._closed:
            raise Unavailable(f"{self.domain} is stopping; try again", reason="STOPPING")
        job = _Job(work, context or current_context(), self._loop.create_future())
        self._jobs.put(job)
        result: T = await job.future
        return result

    async def command(
        self, request: Message, *, rpc: str, subject: str, reply: type[Reply], work: Callable[[Tx], Reply]
    ) -> Reply:
        """Runs a write of an rpc, once per request id (see `inbox.once_per_request`)."""
        return await self.write(
            lambda tx: inbox.once_per_request(
                tx, request, rpc=rpc, subject=subject, key=self._request_key, reply=reply, work=work
            )
        )

    async def react(self, group: str, delivery: Delivery, apply: Callable[[Tx, Any], object]) -> bool:
        """Applies an event for a group; inbox, state and outbox commit together.

        Returns False, and changes nothing, if the group has applied it before. Raises what `apply` raises.
        """

        def work(tx: Tx) -> bool:
            if not inbox.mark_applied(tx, group, delivery):
                return False
            apply(tx, delivery.event)
            return True

        envelope = delivery.envelope
        return await self.write(
            work,
            context=Context(
                correlation_id=envelope.correlation_id,
                causation_id=envelope.id,
                traceparent=envelope.traceparent,
                delivery=delivery,
            ),
        )

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
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
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

    def _write_turns(self) -> None:
        """The writer thread: one transaction a turn."""
        stop = False
        while not stop:
            first = self._jobs.get()
            if first is None:
                break
            done: list[_Job] = []
            try:
                with self._turns.turn():
                    stop = self._commit_turn(first, done)
            except Exception as error:
                log.error("store.commit_failed", domain=self.domain, error=repr(error), works=len(done))
                refusal = Unavailable(f"{self.domain} could not store it; try again", reason="STORE_UNAVAILABLE")
                for job in done or [first]:
                    job.result, job.error, job.on_commit = None, refusal, None
                done = done or [first]
                if self._writer.in_transaction:
                    self._writer.rollback()
            # Callers first: they need not wait for the hints to go out.
            self._loop.call_soon_threadsafe(self._deliver, done)
            self._hints.send()

    def _commit_turn(self, first: _Job, done: list[_Job]) -> bool:
        """Runs what waits and commits it. Returns whether the store is to stop."""
        self._writer.execute("BEGIN IMMEDIATE")
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
        self._writer.execute("COMMIT")
        return stop

    def _attempt(self, job: _Job) -> None:
        if job.future.cancelled():
            return
        self._writer.execute("SAVEPOINT work")
        tx = Tx(self._writer, self._recorder, job.context, self.clock())
        try:
            job.result = job.work(tx)
            job.on_commit = tx.on_commit
        except Exception as error:
            job.error = error
            self._writer.execute("ROLLBACK TO work")
        self._writer.execute("RELEASE work")

    def _deliver(self, done: list[_Job]) -> None:
        self.wakeups.notify()
        for job in done:
            for callback in job.on_commit or ():
                callback()
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1000)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
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
