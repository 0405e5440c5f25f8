"""The bus counts what it does, by stream and group."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from astra.trading.v1.events_pb2 import TradeExecuted
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from bridge import metrics
from bridge.group_runner import Past
from bridge.groups import Group
from bridge.lag import GroupLag, read_lags, run_lags
from services import contracts
from services.runtime.errors import Unavailable
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.unit_bridge.consuming import CLOSED, EXECUTED, SCHEMA, consuming, note, publish
from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.pasts import Outbox, cut
from tests.unit_bridge.polling import until
from tests.unit_bridge.publishing import all_published, publishing, some


class Since:
    """What metrics have grown by since this was made; a process has one registry for all tests."""

    def __init__(self) -> None:
        self._before = self._samples()

    def __call__(self, name: str, **labels: str) -> float:
        key = (f"astra_bus_{name}", tuple(sorted(labels.items())))
        return self._samples().get(key, 0.0) - self._before.get(key, 0.0)

    def _samples(self) -> dict[Any, float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name.startswith("astra_bus_")
        }


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "gamification.db", domain="gamification", schema=SCHEMA)
    yield opened
    await opened.close()


async def test_bridge_counts_what_it_appends_and_repairs(outbox: OutboxServer, redis: Redis) -> None:
    grown = Since()
    async with publishing(outbox, redis):
        outbox.record(EXECUTED, some(20), ms=int(time.time() * 1000) - 2_000)
        await until(all_published(outbox, redis))
        await until(lambda: grown("appended_entries_total", stream=EXECUTED) == 20)
        assert grown("published_entries_total", stream=EXECUTED) == 20
        assert grown("append_latency_seconds_count", stream=EXECUTED) == 20
        assert grown("append_latency_seconds_bucket", stream=EXECUTED, le="1.0") == 0
        assert grown("append_latency_seconds_bucket", stream=EXECUTED, le="30.0") == 20
        await redis.delete(EXECUTED)
        await until(lambda: grown("repaired_entries_total", stream=EXECUTED) == 20)
        await until(lambda: grown("appended_entries_total", stream=EXECUTED) == 40)
        await redis.xadd(EXECUTED, {"e": b"stray"})
        await until(lambda: grown("stream_stopped", stream=EXECUTED) == 1)
        await redis.config_set("maxmemory", 1)
        await until(lambda: grown("paused") == 1)
        assert metrics.FULL._value.get() > 1
        await redis.config_set("maxmemory", 0)
        await until(lambda: grown("paused") == 0)


def test_many_latencies_at_once_are_counted_as_one_by_one_would_be() -> None:
    seconds = [0.0, 0.0009, 0.001, 0.0011, 0.25, 0.3, 299, 300, 301, 4.0]
    together, apart = (metrics.Latencies("l", "-", ["x"], registry=None, buckets=(0.001, 0.25, 300)) for _ in range(2))
    together.labels("a").observe_all(seconds)
    for value in seconds:
        apart.labels("a").observe(value)
    found, wanted = (
        [(sample.name, sample.labels, sample.value) for family in one.collect() for sample in family.samples]
        for one in (together, apart)
    )
    # Without the time of their creation.
    assert [one for one in found if "created" not in one[0]] == [one for one in wanted if "created" not in one[0]]


async def test_history_that_is_purged_before_the_stream_had_it_is_counted(outbox: OutboxServer, redis: Redis) -> None:
    grown = Since()
    outbox.record(EXECUTED, some(20))
    outbox.purged[EXECUTED] = outbox.entries[EXECUTED][7].id
    del outbox.entries[EXECUTED][:8]
    async with publishing(outbox, redis):
        await until(all_published(outbox, redis))
    assert grown("lost_entries_total", stream=EXECUTED) == 8


async def test_group_counts_effects_retries_dead_letters_and_what_it_fills(redis: Redis, store: Store) -> None:
    grown, trouble = Since(), 2

    def react(tx: Tx, event: TradeExecuted) -> None:
        nonlocal trouble
        if event.trade_id == "poison":
            raise KeyError("fault")
        if event.trade_id == "patient" and trouble > 0:
            trouble -= 1
            raise Unavailable("not now", reason="TEST")
        note("m")(tx, event)

    outbox = Outbox()
    outbox.record("cut", "cut too", "a", "poison", "patient", "b")
    await outbox.publish(redis)
    await cut(redis, keep=4)
    labels = {"group": "m", "stream": EXECUTED}
    group = Group(name="m", consumers=1, reactions={TradeExecuted: react})
    async with consuming(group, store, redis, past=Past(store, outbox)):
        await until(lambda: grown("consumed_entries_total", **labels) == 3)
        await until(lambda: grown("dead_letters_total", **labels) == 1)
        await until(lambda: grown("filled_entries_total", **labels) == 2)
    assert grown("retried_entries_total", **labels) == 2 + 4
    assert grown("effect_latency_seconds_count", **labels) == 3


async def test_lag_is_told_by_ordinals_and_the_oldest_unfinished_entry(redis: Redis) -> None:
    await publish(redis, *(f"t{n}" for n in range(10)))
    for group, read, acked in (("new", 0, 0), ("half", 5, 5), ("holding", 5, 2), ("done", 10, 10)):
        await redis.xgroup_create(EXECUTED, group, id="0")
        if read:
            answer: Any = await redis.xreadgroup(group, "c", {EXECUTED: ">"}, count=read)
            await redis.xack(EXECUTED, group, *(id_ for id_, _ in answer[0][1][:acked]))
    lags = {lag.group: lag for lag in await read_lags(redis, [EXECUTED, CLOSED])}
    found = {name: (lag.waiting, lag.pending, lag.oldest_ms) for name, lag in lags.items()}
    assert found == {"new": (10, 0, 1000), "half": (5, 0, 1000), "holding": (5, 3, 1000), "done": (0, 0, None)}
    assert isinstance(lags["new"], GroupLag)
    task = asyncio.create_task(run_lags(redis, [EXECUTED, CLOSED], every_seconds=0.05))
    await until(lambda: metrics.LAG.labels("half", EXECUTED)._value.get() == 5)
    assert metrics.OLDEST_SECONDS.labels("holding", EXECUTED)._value.get() > 1e6
    assert metrics.OLDEST_SECONDS.labels("done", EXECUTED)._value.get() == 0
    task.cancel()
    await asyncio.wait([task])


def test_labels_are_streams_of_the_catalogue_and_groups_alone() -> None:
    families = [family for family in REGISTRY.collect() if family.name.startswith("astra_bus_")]
    assert len(families) >= 20
    for family in families:
        for sample in family.samples:
            assert set(sample.labels) <= {"stream", "group", "le"}
            assert sample.labels.get("stream", EXECUTED) in contracts.events()
