"""Achievements: what counts, what it reaches, and what that brings, whatever the order of events."""

import random
from decimal import Decimal

import grpc
import pytest
from astra.gamification.v1 import gamification_service_pb2 as pb
from astra.gamification.v1.achievement_pb2 import Achievement as AchievementMessage
from astra.gamification.v1.events_pb2 import AchievementUnlocked, LevelUp, XpGained, XpSource
from astra.social.v1.events_pb2 import SocialInteraction
from astra.social.v1.interaction_pb2 import InteractionKind
from astra.trading.v1.events_pb2 import PositionClosed, TradeExecuted
from astra.type.v1.money_pb2 import Money
from astra.user.v1.events_pb2 import UserRegistered
from google.protobuf.message import Message

from bridge.groups import routes
from services.gamification.achievements import ACHIEVEMENTS, Deed, close_deeds, interaction_deeds, trade_deeds
from services.gamification.reactions import GROUPS
from tests.reacting import Streams, react, recorded
from tests.serving import as_user
from tests.unit_gamification.conftest import Game
from tests.unit_gamification.deliveries import names

GROUP = "achievement_processors"
ALICE = as_user("alice")


def trade(amount: str = "100.00") -> TradeExecuted:
    return TradeExecuted(trade_id="t", user_id="alice", amount=Money(currency_code="USD", amount=amount))


def close(pnl: str) -> PositionClosed:
    return PositionClosed(trade_id="t", user_id="alice", pnl=Money(currency_code="USD", amount=pnl))


def interaction(kind: int = 1) -> SocialInteraction:
    return SocialInteraction(interaction_id="i", user_id="alice", target_user_id="bob", kind=kind)  # type: ignore[arg-type]


async def listed(game: Game, **fields: object) -> dict[str, AchievementMessage]:
    request = pb.ListAchievementsRequest(user_id="alice", **fields)  # type: ignore[arg-type]
    response = await game.stub.ListAchievements(request, metadata=ALICE)
    return {each.achievement_id: each for each in response.achievements}


def test_the_table_is_the_one_of_the_domain() -> None:
    table = {each.display_name: (each.deed.name, each.goal, each.xp, each.shards, each.rarity) for each in ACHIEVEMENTS}
    assert table == {
        "First Steps": ("TRADE", 10, 50, 100, "common"),
        "Seasoned Trader": ("TRADE", 100, 200, 400, "rare"),
        "Trading Master": ("TRADE", 1000, 500, 1000, "epic"),
        "Market Legend": ("TRADE", 10_000, 2000, 4000, "legendary"),
        "In Profit": ("PROFITABLE_CLOSE", 1, 25, 50, "common"),
        "High Roller": ("LARGE_TRADE", 1, 50, 100, "uncommon"),
        "Big Win": ("BIG_WIN", 1, 100, 200, "uncommon"),
        "Good Company": ("INTERACTION", 10, 30, 60, "common"),
    }
    assert len({each.achievement_id for each in ACHIEVEMENTS}) == len(ACHIEVEMENTS)


@pytest.mark.parametrize(
    ("amount", "deeds"), [("0.01", [Deed.TRADE]), ("5000", [Deed.TRADE]), ("5000.01", [Deed.TRADE, Deed.LARGE_TRADE])]
)
def test_a_trade_above_5000_is_a_large_one(amount: str, deeds: list[Deed]) -> None:
    assert trade_deeds(Decimal(amount)) == deeds


@pytest.mark.parametrize(
    ("pnl", "deeds"),
    [
        ("-10", []),
        ("0", []),
        ("0.01", [Deed.PROFITABLE_CLOSE]),
        ("500", [Deed.PROFITABLE_CLOSE]),
        ("500.01", [Deed.PROFITABLE_CLOSE, Deed.BIG_WIN]),
    ],
)
def test_a_close_counts_by_its_profit(pnl: str, deeds: list[Deed]) -> None:
    assert close_deeds(Decimal(pnl)) == deeds


@pytest.mark.parametrize("kind", InteractionKind.values()[1:])
def test_every_interaction_counts_but_a_trade_share(kind: int) -> None:
    shares = InteractionKind.INTERACTION_KIND_TRADE_SHARE
    assert interaction_deeds(kind) == ([] if kind == shares else [Deed.INTERACTION])


@pytest.mark.parametrize(
    ("events", "unlocked"),
    [
        ([trade()] * 9, []),
        ([trade()] * 10, ["first_steps"]),
        ([trade()] * 100, ["first_steps", "seasoned_trader"]),
        ([trade("5000.00")], []),
        ([trade("5000.01"), trade("9000.00")], ["high_roller"]),
        ([close("0.00"), close("-5.00")], []),
        ([close("1.00"), close("2.00")], ["in_profit"]),
        ([close("500.01")], ["in_profit", "big_win"]),
        ([interaction(kind) for kind in (1, 2, 3, 4, 6, 7)] + [interaction()] * 3, []),
        ([interaction()] * 10, ["good_company"]),
        ([interaction(5)] * 12, []),
        ([UserRegistered(user_id="alice")] * 12, []),
    ],
)
async def test_deeds_unlock_what_they_reach(game: Game, events: list[Message], unlocked: list[str]) -> None:
    streams = Streams()
    await react(game.domain, GROUP, *(streams.add(event) for event in events))
    told = [each for each in await recorded(game.domain) if each.type.endswith("AchievementUnlocked")]
    assert [AchievementUnlocked.FromString(each.data).achievement_id for each in told] == unlocked
    assert list(await listed(game, unlocked_only=True)) == [
        each.achievement_id for each in ACHIEVEMENTS if each.achievement_id in unlocked
    ]


async def test_an_achievement_brings_xp_and_shards_in_the_chain_of_the_deed(game: Game) -> None:
    await game.stub.AwardXp(pb.AwardXpRequest(user_id="alice", xp=980), metadata=as_user("root", "admin"))
    delivery = Streams().add(trade("6000.00"), correlation_id="big-day")
    await react(game.domain, GROUP, delivery)
    _, unlocked, gained, level_up = await recorded(game.domain)
    assert names([unlocked, gained, level_up]) == ["AchievementUnlocked", "XpGained", "LevelUp"]
    assert AchievementUnlocked.FromString(unlocked.data) == AchievementUnlocked(
        user_id="alice", achievement_id="high_roller", display_name="High Roller", rarity="uncommon", xp=50, shards=100
    )
    assert XpGained.FromString(gained.data) == XpGained(
        user_id="alice", xp=50, total_xp=1030, source=XpSource.XP_SOURCE_ACHIEVEMENT, level=2
    )
    assert LevelUp.FromString(level_up.data).new_level == 2
    assert [each.causation_id for each in (unlocked, gained, level_up)] == [
        delivery.envelope.id,
        unlocked.id,
        gained.id,
    ]
    assert {each.correlation_id for each in (unlocked, gained, level_up)} == {"big-day"}
    response = await game.stub.GetShards(pb.GetShardsRequest(), metadata=ALICE)
    assert response.shard_account.balance == Money(currency_code="SHARDS", amount="100")


async def test_repeats_and_any_order_unlock_the_same_once(game: Game) -> None:
    streams, luck = Streams(), random.Random(7)
    deliveries = [streams.add(event) for event in [trade()] * 12 + [close("600.00")] * 2 + [interaction()] * 11]
    for _ in range(3):
        luck.shuffle(deliveries)
        await react(game.domain, GROUP, *deliveries)
    unlocked = [each for each in await recorded(game.domain) if each.type.endswith("AchievementUnlocked")]
    assert sorted(AchievementUnlocked.FromString(each.data).achievement_id for each in unlocked) == [
        "big_win",
        "first_steps",
        "good_company",
        "in_profit",
    ]
    progress = {id_: (each.progress, each.goal) for id_, each in (await listed(game)).items()}
    assert (progress["first_steps"], progress["seasoned_trader"]) == ((10, 10), (12, 100))


async def test_pages_of_achievements_follow_each_other(game: Game) -> None:
    request, found = pb.ListAchievementsRequest(user_id="alice", page_size=3), []
    while True:
        response = await game.stub.ListAchievements(request, metadata=ALICE)
        found += [each.achievement_id for each in response.achievements]
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert found == [each.achievement_id for each in ACHIEVEMENTS]
    request.page_token = "WyJub25lIl0"  # a token of ["none"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await game.stub.ListAchievements(request, metadata=ALICE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_group_reads_every_event_but_those_of_its_own_domain() -> None:
    [group] = [group for group in GROUPS if group.name == GROUP]
    domains = {route.kind.domain for route in routes(group, "gamification").values()}
    assert domains == {"trading", "social", "financial", "nft", "user"}
