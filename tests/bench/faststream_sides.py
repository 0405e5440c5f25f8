"""FastStream's sides of the bus benchmark: runs in `.bench/`, needs nothing of ours, prints one line of JSON."""

import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvloop
from faststream.redis import RedisBroker, StreamSub

STREAM = "faststream"
BODY = b"x" * 300
AT_ONCE = 64
SCHEMA = """
CREATE TABLE inbox (id INTEGER PRIMARY KEY);
CREATE TABLE effect (trade_id TEXT);
CREATE TABLE outbox (id INTEGER PRIMARY KEY, body BLOB);
"""


def say(**measured: object) -> None:
    print(json.dumps(measured), flush=True)


async def publish(url: str, count: str, at_once: str = "1") -> None:
    """Publishes: one after the other as a handler does, or so many at once."""
    async with RedisBroker(url, logger=None) as broker:
        left = int(count)

        async def some() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await broker.publish(BODY, stream=STREAM)

        begun, used = time.monotonic(), time.process_time()
        await asyncio.gather(*(some() for _ in range(int(at_once))))
        say(seconds=time.monotonic() - begun, cpu_seconds=time.process_time() - used)


async def steadily(url: str, count: str, per_second: str) -> None:
    """Publishes numbers at a rate; says when each was begun."""
    async with RedisBroker(url, logger=None) as broker:
        times, begun = [0.0] * int(count), time.monotonic()

        async def one(number: int) -> None:
            times[number] = time.monotonic()
            await broker.publish(f"n{number}".encode().ljust(300), stream=STREAM)

        async with asyncio.TaskGroup() as tasks:
            for number in range(int(count)):
                await asyncio.sleep(max(0.0, begun + number / float(per_second) - time.monotonic()))
                tasks.create_task(one(number))
        say(at=times)


async def consume(url: str, count: str, database: str = "") -> None:
    """Consumes with a handler a message: a no-op, or a transaction with effect, inbox and outbox."""
    broker: Any = RedisBroker(url, logger=None)
    handle = _transaction(database) if database else None
    times: list[tuple[bytes, float]] = []
    done = asyncio.Event()

    async def handler(body: bytes) -> None:  # FastStream decodes by this annotation
        times.append((body, time.monotonic()))
        if handle is not None:
            handle(body)
        if len(times) == int(count):
            done.set()

    broker.subscriber(stream=StreamSub(STREAM, group="g", consumer="c", max_records=256))(handler)
    await broker.connect()
    with suppress(Exception):  # there already
        await broker._connection.xgroup_create(STREAM, "g", id="0", mkstream=True)
    begun, used = time.monotonic(), time.process_time()
    async with broker:
        await broker.start()
        say(ready=True)
        await done.wait()
        numbered = sorted((int(body[1:]), at) for body, at in times) if times[0][0].startswith(b"n") else []
        say(
            seconds=times[-1][1] - begun,
            cpu_seconds=time.process_time() - used,
            at=[at for _, at in numbered],
        )


def _transaction(database: str) -> Callable[[bytes], None]:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + SCHEMA)

    def handle(body: bytes) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO inbox VALUES (NULL)")
        connection.execute("INSERT INTO effect VALUES (?)", ("t",))
        connection.execute("INSERT INTO outbox VALUES (NULL, ?)", (body,))
        connection.execute("COMMIT")

    return handle


if __name__ == "__main__":
    side: Any = {"publish": publish, "steadily": steadily, "consume": consume}[sys.argv[1]]
    uvloop.run(side(*sys.argv[2:]))
