"""Tokens that are no longer accepted: the rule, and how a process keeps it through restarts and outages."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.trading_service_pb2_grpc import TradingServiceStub
from astra.user.v1.events_pb2 import AccountStatusChanged
from redis.asyncio import Redis

from services import trading
from services.mesh import Mesh
from services.runtime.call import caller_from
from services.runtime.context import Caller
from services.runtime.errors import Unauthenticated
from services.runtime.revocations import KEPT_MS, STREAM, Follower, Revocations
from services.runtime.store import Store
from services.runtime.streams import while_allowed
from tests.conftest import OpenStore
from tests.reacting import START_MS, Streams
from tests.serving import as_user, reason_of, serving
from tests.unit_bridge.polling import until
from tests.unit_bridge.valkey import Valkey

WAIT_SECONDS = 10


def caller(user_id: str, token_ms: int) -> Caller:
    return Caller(user_id=user_id, token_ms=token_ms)


@pytest.mark.parametrize(
    ("user_id", "token_ms", "refused"),
    [
        ("ann", 999, True),
        ("ann", 1000, False),
        ("ann", 0, True),
        ("bob", 0, False),
        ("", 0, False),
    ],
)
def test_tokens_older_than_the_users_moment_are_refused(user_id: str, token_ms: int, refused: bool) -> None:
    rules = Revocations()
    rules.note("ann", 1000)
    rules.note("ann", 500)
    assert rules.refuses(caller(user_id, token_ms)) is refused
    if refused:
        with pytest.raises(Unauthenticated) as caught:
            rules.check(caller(user_id, token_ms))
        assert caught.value.reason == "TOKEN_REVOKED"


async def test_an_idle_stream_ends_with_its_callers_access_and_not_with_anothers() -> None:
    rules, ended = Revocations(), asyncio.Event()

    async def silent() -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            ended.set()

    stream = while_allowed(silent(), caller("ann", 999), rules)
    assert await anext(stream) == "first"
    waiting = asyncio.ensure_future(anext(stream))
    rules.note("bob", 5000)
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done
    rules.note("ann", 1000)
    with pytest.raises(Unauthenticated) as caught:
        await asyncio.wait_for(waiting, WAIT_SECONDS)
    assert caught.value.reason == "TOKEN_REVOKED"
    await asyncio.wait_for(ended.wait(), WAIT_SECONDS)


@pytest.mark.parametrize("user_id", ["ann", ""])
async def test_a_stream_that_nobody_refuses_comes_whole(user_id: str) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    stream = while_allowed(numbers(), caller(user_id, 999), Revocations())
    assert [number async for number in stream] == [0, 1, 2]


async def test_what_is_ready_when_access_ends_is_not_sent_any_more() -> None:
    rules = Revocations()

    async def news() -> AsyncIterator[str]:
        while True:
            yield "news"

    stream = while_allowed(news(), caller("ann", 999), rules)
    assert await anext(stream) == "news"
    rules.note("ann", 1000)
    with pytest.raises(Unauthenticated):
        await anext(stream)


@pytest.mark.parametrize(("header", "token_ms"), [("1700000001", 1_700_000_001_000), ("", 0), ("soon", 0), ("-1", 0)])
def test_the_token_time_is_what_envoy_states_and_anything_else_is_old(header: str, token_ms: int) -> None:
    assert caller_from({"x-astra-user": "ann", "x-astra-token-time": header}).token_ms == token_ms


@pytest.fixture
def start_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Valkey]]:
    servers: list[Valkey] = []

    def start() -> Valkey:
        servers.append(Valkey(tmp_path_factory.mktemp("valkey")))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


class Bus:
    """The stream as the bridge writes it."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._streams = Streams()

    async def say(self, user_id: str, not_before_ms: int, *, ms: int = START_MS, lost: bool = False) -> None:
        event = AccountStatusChanged(user_id=user_id)
        event.not_before.FromMilliseconds(not_before_ms)
        delivery = self._streams.add(event, ms=ms)
        if not lost:
            await self.redis.xadd(STREAM, {"e": delivery.envelope.SerializeToString()}, id=delivery.id)


@asynccontextmanager
async def following(store: Store, redis: Redis) -> AsyncIterator[Follower]:
    follower, stop = Follower(store, redis), asyncio.Event()
    task = asyncio.create_task(follower.run(stop))
    try:
        yield follower
    finally:
        stop.set()
        await asyncio.wait_for(task, WAIT_SECONDS)


async def refused(follower: Follower, user_id: str, token_ms: int) -> None:
    await until(lambda: follower.revocations.refuses(caller(user_id, token_ms)))


async def test_it_knows_what_was_said_before_it_serves_and_hears_what_is_said_after(
    open_store: OpenStore, start_valkey: Callable[[], Valkey]
) -> None:
    redis = start_valkey().client()
    bus = Bus(redis)
    await bus.say("ann", START_MS)
    async with following(open_store(clock=lambda: START_MS), redis) as follower:
        assert await follower.catch_up()
        assert follower.revocations.refuses(caller("ann", START_MS - 1))
        assert not follower.revocations.refuses(caller("bob", 0))
        await bus.say("bob", START_MS + 5)
        await refused(follower, "bob", START_MS + 4)
        assert not follower.revocations.refuses(caller("bob", START_MS + 5))
    await redis.aclose()


async def test_it_keeps_the_rule_after_a_restart_and_while_redis_is_away(
    open_store: OpenStore, start_valkey: Callable[[], Valkey]
) -> None:
    server = start_valkey()
    redis = server.client()
    bus = Bus(redis)
    async with following(open_store(clock=lambda: START_MS), redis) as follower:
        await bus.say("ann", START_MS)
        await refused(follower, "ann", START_MS - 1)
        server.kill()
        await asyncio.sleep(0.3)
        assert follower.revocations.refuses(caller("ann", START_MS - 1))
    # The process comes back before Redis does: it waits a while, then serves by what it remembers.
    async with following(open_store(clock=lambda: START_MS), redis) as again:
        assert not await again.catch_up(seconds=0.3)
        assert again.revocations.refuses(caller("ann", START_MS - 1))
        assert not again.revocations.refuses(caller("ann", START_MS))
        server.start()
        await bus.say("bob", START_MS + 7, ms=START_MS + 7)
        await refused(again, "bob", START_MS + 6)
    await redis.aclose()


async def test_a_gap_in_the_stream_refuses_whatever_is_older_than_it(
    open_store: OpenStore, start_valkey: Callable[[], Valkey]
) -> None:
    """Entries trimmed away while the process was down may have spoken of anyone."""
    redis = start_valkey().client()
    bus = Bus(redis)
    await bus.say("ann", START_MS)
    async with following(open_store(clock=lambda: START_MS), redis) as follower:
        assert await follower.catch_up()
        assert not follower.revocations.refuses(caller("carl", 1))
    await bus.say("carl", START_MS + 10, ms=START_MS + 10, lost=True)
    await bus.say("dora", START_MS + 20, ms=START_MS + 20)
    async with following(open_store(clock=lambda: START_MS), redis) as follower:
        assert await follower.catch_up()
        assert follower.revocations.refuses(caller("carl", START_MS + 9))
        assert not follower.revocations.refuses(caller("carl", START_MS + 20))
    # Nothing came after what was trimmed: the stream's own last id tells of it.
    await bus.say("emil", START_MS + 30, ms=START_MS + 30)
    await redis.xtrim(STREAM, maxlen=0)
    async with following(open_store(clock=lambda: START_MS), redis) as follower:
        assert await follower.catch_up()
        assert follower.revocations.refuses(caller("emil", START_MS + 29))
    await redis.aclose()


async def test_old_rules_are_dropped_when_no_token_can_be_as_old(
    open_store: OpenStore, start_valkey: Callable[[], Valkey]
) -> None:
    redis = start_valkey().client()
    bus = Bus(redis)
    now = [START_MS]
    store = open_store(clock=lambda: now[0])
    async with following(store, redis) as follower:
        await bus.say("ann", START_MS)
        await refused(follower, "ann", START_MS - 1)
        now[0] += KEPT_MS + 1
        await bus.say("bob", now[0])
        await refused(follower, "bob", START_MS)
    assert [row["user_id"] for row in store.read_now(lambda db: db.all("SELECT * FROM revocation"))] == ["bob"]
    await redis.aclose()


async def test_every_rpc_of_a_service_refuses_such_a_token_but_one_that_is_open_to_all(tmp_path: Path) -> None:
    rules = Revocations()
    async with serving(trading.build(Mesh.at(tmp_path)), rules) as channel:
        stub = TradingServiceStub(channel)
        old = (*as_user("alice"), ("x-astra-token-time", "1700000000"))
        new = (*as_user("alice"), ("x-astra-token-time", "1700000001"))
        await stub.GetPortfolio(pb.GetPortfolioRequest(), metadata=old)
        rules.note("alice", 1_700_000_001_000)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetPortfolio(pb.GetPortfolioRequest(), metadata=old)
        assert (caught.value.code().name, reason_of(caught.value)) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
        await stub.GetPortfolio(pb.GetPortfolioRequest(), metadata=new)
        await stub.GetQuote(pb.GetQuoteRequest(symbol="BTC"), metadata=old)
