"""Sagas: carried on by one at a time, under a lease, until they end; whatever dies in between."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.runtime import sagas
from services.runtime.context import Context, current_context
from services.runtime.errors import Unavailable
from services.runtime.sagas import LEASE_MS, RETRY_CAP_MS, RETRY_FIRST_MS, Sagas
from services.runtime.store import Store
from tests.conftest import OpenStore

CHAIN = Context(correlation_id="chain", causation_id="cause")


async def begin(store: Store, key: str, *, leased: bool = False) -> None:
    await store.write(lambda tx: sagas.begin(tx, "count", key, leased=leased), context=CHAIN)


def left(store: Store) -> list[tuple[str, int, int]]:
    return store.read_now(lambda db: [tuple(r) for r in db.all("SELECT key, take_ms, attempts FROM saga ORDER BY key")])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited is in the database
            await asyncio.sleep(0.005)


class Counting:
    """Steps that note who they were made for, and end the saga unless told to do otherwise."""

    def __init__(self, store: Store, also: Callable[[str], Awaitable[None]] | None = None) -> None:
        self.store, self.also = store, also
        self.made: list[tuple[str, str, str]] = []
        self.sagas = Sagas(store, {"count": self.step})

    async def step(self, key: str) -> None:
        context = current_context()
        self.made.append((key, context.correlation_id, context.causation_id))
        if self.also:
            await self.also(key)
        await self.store.write(lambda tx: sagas.end(tx, "count", key))


async def test_a_saga_is_carried_on_once_in_its_chain_though_two_processes_look_for_it(open_store: OpenStore) -> None:
    one, two = Counting(open_store()), Counting(open_store())
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for each in (one, two):
            tasks.create_task(each.sagas.run(stop))
        for n in range(100):
            await begin(one.store, f"{n:03}")
        await until(lambda: not left(one.store))
        stop.set()
    assert sorted(one.made + two.made) == [(f"{n:03}", "chain", "cause") for n in range(100)]


async def test_a_lease_is_left_alone_until_it_has_run_out(open_store: OpenStore) -> None:
    now = [1_000]
    store = open_store(clock=lambda: now[0])
    counting, stop = Counting(store), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(counting.sagas.run(stop))
        await begin(store, "dead", leased=True)
        await begin(store, "free")
        await until(lambda: [key for key, *_ in left(store)] == ["dead"])
        now[0] += LEASE_MS
        await store.write(lambda tx: None)
        await until(lambda: not left(store))
        stop.set()
    assert [key for key, *_ in counting.made] == ["free", "dead"]


async def test_what_cannot_be_done_yet_is_tried_again_ever_later(open_store: OpenStore) -> None:
    async def away(key: str) -> None:
        raise Unavailable("away", reason="AWAY")

    now = [0]
    store = open_store(clock=lambda: now[0])
    counting = Counting(store, away)
    await begin(store, "k", leased=True)
    waits = []
    for _ in range(10):
        await counting.sagas.carry_on("count", "k")
        [(_, take_ms, _)] = left(store)
        waits.append(take_ms - now[0])
        now[0] = take_ms
    assert waits[:4] == [RETRY_FIRST_MS * 2**n for n in range(4)]
    assert waits[-1] == RETRY_CAP_MS


@pytest.mark.parametrize("error", [RuntimeError("a defect"), TimeoutError()])
async def test_a_step_that_fails_loses_nothing(open_store: OpenStore, error: Exception) -> None:
    async def fail(key: str) -> None:
        raise error

    store = open_store()
    await begin(store, "k", leased=True)
    await Counting(store, fail).sagas.carry_on("count", "k")
    assert [(key, attempts) for key, _, attempts in left(store)] == [("k", 1)]


async def test_an_attempt_that_comes_late_finds_it_ended(open_store: OpenStore) -> None:
    store = open_store()
    await begin(store, "k")
    assert await store.write(lambda tx: sagas.end(tx, "count", "k"))
    assert not await store.write(lambda tx: sagas.end(tx, "count", "k"))


async def test_a_repeated_call_waits_for_the_outcome_of_the_first(open_store: OpenStore) -> None:
    store = open_store()
    counting = Counting(store)
    await begin(store, "k", leased=True)
    waiting = asyncio.create_task(counting.sagas.outcome("count", "k"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await counting.sagas.carry_on("count", "k")
    async with asyncio.timeout(2):
        await waiting
