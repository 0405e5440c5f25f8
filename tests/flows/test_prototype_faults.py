"""The ten faults of the prototype, at the end of the domain's table of facts: a test each, by its number."""

import asyncio
import importlib
import time
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from astra.event.v1.outbox_service_pb2 import Cursor, TailRequest
from astra.event.v1.outbox_service_pb2_grpc import OutboxServiceStub
from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.trading.v1.trading_service_pb2_grpc import TradingServiceStub
from astra.type.v1.money_pb2 import Money
from redis.asyncio import Redis

from bridge.groups import Group, routes
from services import trading
from services.mesh import HOST, SERVICES, Mesh
from services.runtime.redis_client import connect
from services.runtime.store import Store
from services.runtime.transaction import Tx
from services.trading import market
from tests.serving import as_service, as_user, serving
from tests.story.chains import STORY_1
from tests.story.play import UNRELATED, Stage
from tests.story.rest import PASSWORD, Refused, RestClient, Session, money
from tests.unit_bridge.consuming import SCHEMA, consuming, dead_letters, effects, note, pending, publish
from tests.unit_bridge.polling import until
from tests.unit_bridge.valkey import Valkey

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALICE = as_user("alice")
EXECUTED = "astra.trading.trade_executed.v1"


async def newcomer(stage: Stage) -> Session:
    name = f"f{uuid.uuid4().hex[:12]}"
    await stage.rest.register(name)
    return await stage.rest.login(name)


def all_groups() -> dict[str, tuple[str, Group]]:
    """Returns every group of every domain with its owner, by name."""
    found = {}
    for service in SERVICES:
        for group in importlib.import_module(f"services.{service.name}").GROUPS:
            found[group.name] = (service.name, group)
    return found


async def test_1_every_group_is_on_real_streams_and_sees_real_events(stage: Stage) -> None:
    """Groups were created on stream names with a literal `*`."""
    await stage.play("faults-1", STORY_1)
    await stage.onlooker.look_until_quiet(time.monotonic() + 30, ignore=UNRELATED)
    redis: Any = connect(stage.running.mesh, "reader")
    keys = [key.decode() async for key in redis.scan_iter(match="astra.*")]
    assert not [key for key in keys if "*" in key]
    for name, (owner, group) in all_groups().items():
        delivered = []
        for stream in routes(group, owner):
            groups = {info["name"].decode(): info for info in await redis.xinfo_groups(stream)}
            assert name in groups, f"{name} is not on {stream}"
            delivered.append(groups[name]["last-delivered-id"])
        if EXECUTED in routes(group, owner):
            assert any(last != b"0-0" for last in delivered), f"{name} saw nothing"
    await redis.aclose()


async def test_2_publishing_is_not_processing_and_no_group_starves_another(tmp_path: Path, redis: Redis) -> None:
    """One dedupe key served the publisher and all groups."""
    store = Store(tmp_path / "gamification.db", domain="gamification", schema=SCHEMA)
    groups = [Group(name=name, consumers=2, reactions={TradeExecuted: note(name)}) for name in ("g", "h")]
    async with consuming(groups[0], store, redis), consuming(groups[1], store, redis):
        await publish(redis, *(f"t{n}" for n in range(20)))
        await until(lambda: all(len(effects(store, group.name)) == 20 for group in groups))
    await store.close()


async def test_3_a_failed_event_is_tried_again_and_then_a_dead_letter(tmp_path: Path, redis: Redis) -> None:
    """A handler's error was acknowledged; nothing was retried, reclaimed or dead-lettered."""
    store = Store(tmp_path / "gamification.db", domain="gamification", schema=SCHEMA)
    attempts: list[str] = []

    def react(tx: Tx, event: TradeExecuted) -> None:
        attempts.append(event.trade_id)
        if event.trade_id == "poison" or attempts.count("shaky") == 1:
            raise ValueError("cannot be done")
        note("g")(tx, event)

    await publish(redis, "shaky", "poison")
    async with consuming(Group(name="g", consumers=1, reactions={TradeExecuted: react}), store, redis):
        await until(lambda: effects(store) == ["shaky"])
        await until(lambda: has_one_dead_letter(redis))
        await until(lambda: nothing_pending(redis))
    assert attempts.count("poison") > 2
    await store.close()


async def has_one_dead_letter(redis: Redis) -> bool:
    return len(await dead_letters(redis)) == 1


async def nothing_pending(redis: Redis) -> bool:
    return not await pending(redis)


async def test_4_a_full_redis_refuses_writes_and_evicts_no_stream(stage: Stage, redis: Redis) -> None:
    """`allkeys-lru` evicted whole streams with their groups."""
    ours: Any = connect(stage.running.mesh, "bridge")
    assert (await ours.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
    assert await ours.config_get("appendonly") == {"appendonly": "yes"}
    await ours.aclose()
    # And what that policy means: a stream outlives the memory it has.
    await publish(redis, "kept")
    await redis.config_set("maxmemory-policy", "noeviction")
    await redis.config_set("maxmemory", 1)
    with pytest.raises(Exception, match="maxmemory"):
        await redis.set("more", "x" * 1000)
    assert await redis.xlen(EXECUTED) == 1
    await redis.config_set("maxmemory", 0)


async def test_5_a_fill_stands_without_a_bus_and_is_published_when_there_is_one(tmp_path: Path) -> None:
    """Rows were marked published without publishing; a bus error after a fill failed the trade, its cash gone."""
    async with serving(trading.build(Mesh.at(tmp_path))) as channel:
        stub: Any = TradingServiceStub(channel)
        trade = (await stub.ExecuteTrade(order("1000"), metadata=ALICE)).trade
        assert (await stub.GetTrade(pb.GetTradeRequest(trade_id=trade.trade_id), metadata=ALICE)).trade == trade
        outbox: Any = OutboxServiceStub(channel)
        for _ in range(2):  # reading it does not use it up: what Redis lacks is sent again
            request = TailRequest(cursors=[Cursor(stream=EXECUTED, id="0-0")])
            tail = outbox.Tail(request, metadata=as_service("bridge"))
            sent = await asyncio.wait_for(tail.read(), 5)
            assert [entry.id.split("-")[1] for entry in sent.batch.entries] == ["1"]
            tail.cancel()


async def test_6_an_outage_is_told_as_one_and_a_success_is_one(stage: Stage) -> None:
    """An outage answered "executed" with HTTP 200 and invented data."""
    session = await newcomer(stage)
    path = f"/v1/users/{session.user_id}/trades"
    impatient = RestClient(stage.running.mesh, patience_seconds=0)
    executed, told = [], []
    async with impatient:
        for _ in range(3):
            pid = stage.running.kill("trading-serve")
            for _ in range(5):
                body = {"symbol": "BTC", "amount": money(Decimal(10)), "direction": "DIRECTION_LONG"}
                try:
                    executed.append((await impatient.post(path, body, session=session))["tradeId"])
                except Refused as refused:
                    told.append(refused.status)
                except (aiohttp.ClientError, TimeoutError):
                    told.append(0)
            await asyncio.to_thread(stage.running.wait_ready, "trading-serve", not_pid=pid)
    assert set(told) <= {0, 502, 503, 504}
    listed = {trade["tradeId"] for trade in (await stage.rest.get(path, session=session)).get("trades", [])}
    assert set(executed) <= listed


def order(amount: str) -> pb.ExecuteTradeRequest:
    usd = Money(currency_code="USD", amount=amount)
    return pb.ExecuteTradeRequest(symbol="BTC", amount=usd, direction="DIRECTION_LONG")


async def test_7_a_new_user_can_trade_and_a_profit_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profitable close took the balance from 9000 to 8000; PnL counted twice; a new user could not trade."""
    async with serving(trading.build(Mesh.at(tmp_path))) as channel:
        stub: Any = TradingServiceStub(channel)
        opened = (await stub.ExecuteTrade(order("1000"), metadata=ALICE)).trade
        risen = dict.fromkeys(market.MARKETS, Decimal(opened.entry_price) * 2)
        monkeypatch.setattr(market.SimulatedMarket, "prices", lambda self, at_ms: risen)
        await stub.CloseTrade(pb.CloseTradeRequest(trade_id=opened.trade_id), metadata=ALICE)
        shown = (await stub.GetPortfolio(pb.GetPortfolioRequest(), metadata=ALICE)).portfolio
        assert (shown.balance.amount, shown.total_value.amount) == ("10999.00", "10999.00")
        assert (shown.realized_pnl.amount, shown.unrealized_pnl.amount) == ("1000.00", "0.00")


async def test_8_tiers_are_an_order_and_no_event_carries_a_password(stage: Stage) -> None:
    """Tiers compared as strings, where `identity` comes before `phone`; registration published the password."""
    session = await newcomer(stage)
    path = f"/v1/users/{session.user_id}:verify"
    for tier in ("EMAIL", "PHONE", "IDENTITY", "PREMIUM"):
        shown = await stage.rest.post(path, {"tier": f"VERIFICATION_TIER_{tier}"}, session=stage.admin)
        assert shown["verificationTier"] == f"VERIFICATION_TIER_{tier}"
    with pytest.raises(Refused, match="TIER_NOT_HIGHER"):
        await stage.rest.post(path, {"tier": "VERIFICATION_TIER_PHONE"}, session=stage.admin)
    await stage.onlooker.look_until_quiet(time.monotonic() + 30, ignore=UNRELATED)
    published = [entry.envelope.SerializeToString() for entry in stage.onlooker.seen]
    assert any(session.user_id.encode() in envelope for envelope in published)
    secrets = (PASSWORD, session.token, session.refresh_token, "@example.com")
    assert not [secret for secret in secrets for envelope in published if secret.encode() in envelope]


async def test_9_a_bearer_token_is_its_own_user_or_nobody(stage: Stage) -> None:
    """Any bearer token was user 123, and a header that the caller sets decided who it was."""
    ann, bob = await newcomer(stage), await newcomer(stage)
    path = f"/v1/users/{ann.user_id}/portfolio"
    spliced = ".".join((*bob.token.split(".")[:2], ann.token.split(".")[2]))
    for token in ("anything", "user_123", spliced, ann.token[::-1]):
        with pytest.raises(Refused) as refused:
            await stage.rest.get(path, session=Session(user_id=ann.user_id, token=token))
        assert refused.value.status == 401
    url = f"http://{stage.running.mesh.addresses['gateway']}{path}"
    claims = {"Authorization": f"Bearer {bob.token}", "x-astra-user": ann.user_id, "x-astra-roles": "admin"}
    async with aiohttp.ClientSession() as http, http.get(url, headers=claims) as answer:
        assert answer.status == 403
    assert (await stage.rest.get(path, session=ann))["userId"] == ann.user_id


async def test_10_a_call_that_is_turned_away_is_no_success(tmp_path: Path) -> None:
    """The load test counted 429s as successes. All of ours goes through this client."""

    async def full(_: web.Request) -> web.Response:
        return web.json_response({"code": 8, "message": "slow down"}, status=429)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", full)
    runner = web.AppRunner(app)
    await runner.setup()
    mesh = Mesh.at(tmp_path, free_ports=True)
    await web.TCPSite(runner, HOST, mesh.port("gateway")).start()
    async with RestClient(mesh, patience_seconds=1) as rest:
        session = Session(user_id="u", token="t")
        with pytest.raises(Refused) as refused:
            await rest.trade(session, "BTC", Decimal(1), correlation_id="c")
        assert refused.value.status == 429
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="session")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Redis]:
    """A server of the test's own."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    client = server.client()
    yield client
    await client.aclose()
    server.kill()
