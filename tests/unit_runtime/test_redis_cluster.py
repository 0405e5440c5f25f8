"""Which slot a command goes to, and reads that stand: without a cluster. `unit_bridge/test_cluster.py` has one."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from bridge.entries import dead_letters_of
from bridge.guards import refusals
from services import contracts
from services.runtime.redis_cluster import ClusterRedis, away_of, slot, slot_of
from services.runtime.redis_standing import Read, StandingReads
from services.runtime.redis_topology import Topology
from services.runtime.registry import INDEX, Instance

STREAM = "astra.trading.trade_executed.v1"


def test_what_one_script_or_transaction_takes_shares_a_slot() -> None:
    for stream in contracts.events():
        assert slot(dead_letters_of(stream, "some_group")) == slot(stream)
    assert slot(Instance(service="trading", address="127.0.0.1:1", id="x").key) == slot(INDEX)


def test_streams_spread_over_the_slots() -> None:
    assert len({slot(stream) for stream in contracts.events()}) > len(contracts.events()) / 2


@pytest.mark.parametrize(
    "command",
    [
        ("XLEN", STREAM),
        ("XINFO STREAM", STREAM),
        ("XINFO", "STREAM", STREAM),
        ("XGROUP CREATE", STREAM, "g", "0"),
        ("XGROUP", "CREATE", STREAM, "g", "0", "MKSTREAM"),
        ("EVALSHA", "sha", 2, STREAM, dead_letters_of(STREAM, "g"), "g"),
        ("XREADGROUP", b"GROUP", "g", "c", b"COUNT", 3, b"STREAMS", STREAM, ">"),
        ("XREAD", "STREAMS", STREAM.encode(), "0-0"),
        ("XADD", dead_letters_of(STREAM, "g"), "*", "e", "x"),
    ],
)
def test_command_goes_to_the_slot_of_its_stream(command: tuple[Any, ...]) -> None:
    assert slot_of(command) == slot(STREAM)


@pytest.mark.parametrize("command", [("INFO",), ("CONFIG GET",), ("XINFO", "STREAM")])
def test_command_without_a_key_is_refused_rather_than_sent_anywhere(command: tuple[Any, ...]) -> None:
    with pytest.raises(ResponseError, match="each node is asked"):
        slot_of(command)


class Nodes:
    """Answers reads of single streams when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)

    async def read_one(self, *command: Any) -> Any:
        [stream] = Read.of(command).places
        self.asked.append(stream)
        answer = await self.answers[stream].get()
        if isinstance(answer, Exception):
            raise answer
        return [[stream, answer]]


def reading(*streams: str, block_ms: int = 50) -> Read:
    return Read.of(("XREADGROUP", "GROUP", "g", "c", "BLOCK", block_ms, "STREAMS", *streams, *(">" for _ in streams)))


async def test_read_returns_what_comes_first_and_the_others_stay_under_way() -> None:
    nodes = Nodes()
    standing = StandingReads(nodes.read_one)
    nodes.answers["a"].put_nowait(["a1"])
    assert await standing.read(reading("a", "b"), 10_000) == [["a", ["a1"]]]
    assert await standing.read(reading("a", "b"), 30) == []
    nodes.answers["b"].put_nowait(["b1"])
    assert await standing.read(reading("a", "b"), 10_000) == [["b", ["b1"]]]
    assert nodes.asked == ["a", "b", "a"], "a read is not given up half-way, and not begun twice"
    await standing.aclose()


async def test_caller_that_gives_up_loses_nothing_that_was_given_meanwhile() -> None:
    nodes = Nodes()
    standing = StandingReads(nodes.read_one)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await standing.read(reading("a", "b"), 10_000)
    nodes.answers["b"].put_nowait(["b1"])
    await asyncio.sleep(0)
    assert await standing.read(reading("a", "b"), 10_000) == [["b", ["b1"]]]
    await standing.aclose()


async def test_stream_that_cannot_be_read_does_not_hide_what_another_gave() -> None:
    nodes = Nodes()
    standing = StandingReads(nodes.read_one)
    nodes.answers["a"].put_nowait(RedisConnectionError("away"))
    nodes.answers["b"].put_nowait(["b1"])
    assert await standing.read(reading("a", "b"), 10_000) == [["b", ["b1"]]]
    with pytest.raises(RedisConnectionError, match="away"):
        await standing.read(reading("a", "b"), 10_000)
    nodes.answers["a"].put_nowait(["a1"])
    assert await standing.read(reading("a", "b"), 10_000) == [["a", ["a1"]]], "and it is tried again"
    await standing.aclose()


async def test_readers_of_different_names_have_reads_of_their_own() -> None:
    nodes = Nodes()
    standing = StandingReads(nodes.read_one)
    other = Read.of(("XREADGROUP", "GROUP", "g", "d", "STREAMS", "a", "b", ">", ">"))
    assert await standing.read(reading("a", "b"), 20) == []
    assert await standing.read(other, 20) == []
    assert sorted(nodes.asked) == ["a", "a", "b", "b"]
    await standing.aclose()


async def test_cluster_that_is_away_is_away_whatever_is_asked_and_however_soon_again() -> None:
    def nowhere(host: str, port: int) -> Redis:
        return Redis(host=host, port=port, retry=Retry(NoBackoff(), 0))

    topology = Topology([("127.0.0.1", 1)], nowhere)
    cluster: Any = ClusterRedis(topology, nowhere("127.0.0.1", 1))
    for _ in range(2):
        with pytest.raises(RedisConnectionError, match="no node of the cluster answers"):
            await cluster.xlen(STREAM)
        with pytest.raises(RedisConnectionError, match="no node of the cluster answers"):
            await cluster.ping()
        with pytest.raises(RedisConnectionError, match="no node of the cluster answers"):
            await cluster.pipeline(transaction=False).xlen(STREAM).execute(raise_on_error=False)
        with pytest.raises(RedisConnectionError, match="no node of the cluster answers"):
            await refusals(cluster)
    await cluster.aclose()


@pytest.mark.parametrize(
    ("answer", "away"),
    [
        (RedisConnectionError("gone"), True),
        (ClusterDownError("The cluster is down"), True),
        (ReadOnlyError("You can't write against a read only replica."), True),
        (ResponseError("UNBLOCKED force unblock from blocking operation"), True),
        (ResponseError("no such key"), False),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), False),
        ([b"UNBLOCKED"], False),
        (None, False),
    ],
)
def test_what_says_that_a_part_of_the_cluster_is_away_is_told_apart(answer: object, away: bool) -> None:
    assert isinstance(away_of(answer), RedisConnectionError) == away
