"""Watching: what is there, then what comes, each once and in order, from any position."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.runtime.errors import Unavailable
from services.runtime.store import Store
from services.runtime.transaction import Reader
from services.runtime.watching import watch
from tests.conftest import OpenStore

LINES = "CREATE TABLE IF NOT EXISTS line (n INTEGER PRIMARY KEY);"


def after(db: Reader, position: int) -> list[tuple[int, str]]:
    return [(row["n"], f"line {row['n']}") for row in db.all("SELECT n FROM line WHERE n > ? LIMIT 3", position)]


async def add(store: Store, *numbers: int) -> None:
    for n in numbers:
        await store.write(lambda tx, n=n: tx.execute("INSERT INTO line VALUES (?)", n))  # type: ignore[misc]


async def take(lines: AsyncIterator[tuple[int, str]], count: int) -> list[int]:
    return [(await asyncio.wait_for(anext(lines), 5))[0] for _ in range(count)]


async def test_it_yields_what_is_there_and_then_what_another_process_commits(open_store: OpenStore) -> None:
    store, other = open_store(schema=LINES), open_store(schema=LINES)
    await add(store, 1, 2, 3, 4)
    lines = watch(store, after, 0)
    assert await take(lines, 4) == [1, 2, 3, 4]
    waiting = asyncio.ensure_future(anext(lines))
    await add(other, 5)
    assert await asyncio.wait_for(waiting, 5) == (5, "line 5")


async def test_it_goes_on_from_a_position(open_store: OpenStore) -> None:
    store = open_store(schema=LINES)
    await add(store, 1, 2, 3)
    assert await take(watch(store, after, 2), 1) == [3]


async def test_it_ends_when_the_process_stops(open_store: OpenStore) -> None:
    store = open_store(schema=LINES)
    waiting = asyncio.ensure_future(anext(watch(store, after, 0)))
    await asyncio.sleep(0.01)
    store.wakeups.stop()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(waiting, 5)
