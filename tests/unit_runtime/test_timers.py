"""Timers: each fires once, when it is due, and a failing one blocks no other."""

import asyncio

from services.runtime.store import Store
from services.runtime.timers import run_timers, set_timer
from services.runtime.transaction import Reader, Tx
from tests.conftest import OpenStore

FIRED = "CREATE TABLE IF NOT EXISTS fired (key TEXT NOT NULL);"


def note(tx: Tx, key: str) -> None:
    tx.execute("INSERT INTO fired VALUES (?)", key)


def fail(tx: Tx, key: str) -> None:
    note(tx, key)
    raise RuntimeError("boom")


def fired(db: Reader) -> list[str]:
    return [row["key"] for row in db.all("SELECT key FROM fired ORDER BY key")]


async def until(store: Store, expected: list[str]) -> None:
    async with asyncio.timeout(5):
        while store.read_now(fired) != expected:  # noqa: ASYNC110 - what is awaited is in the database
            await asyncio.sleep(0.01)


async def test_a_timer_fires_once_when_it_is_due_though_two_processes_wait_for_it(open_store: OpenStore) -> None:
    now = [1_000]
    store, other = (open_store(schema=FIRED, clock=lambda: now[0]) for _ in range(2))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for each in (store, other):
            tasks.create_task(run_timers(each, {"note": note, "fail": fail}, stop))
        await store.write(lambda tx: set_timer(tx, "fail", "broken", 900))
        await store.write(lambda tx: set_timer(tx, "note", "now", 1_000))
        await store.write(lambda tx: set_timer(tx, "note", "later", 5_000))
        await until(store, ["now"])
        now[0] = 5_000
        await store.write(lambda tx: None)
        await until(store, ["later", "now"])
        stop.set()
    assert store.read_now(fired) == ["later", "now"]


async def test_a_timer_that_is_set_keeps_its_time(open_store: OpenStore) -> None:
    store = open_store(schema=FIRED)
    for at_ms in (2_000, 9_000):
        await store.write(lambda tx, at_ms=at_ms: set_timer(tx, "note", "k", at_ms))  # type: ignore[misc]
    assert store.read_now(lambda db: db.value("SELECT at_ms FROM due")) == 2_000
