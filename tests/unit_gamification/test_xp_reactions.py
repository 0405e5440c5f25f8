"""What events bring in XP and levels."""

import random

from astra.gamification.v1.events_pb2 import LevelUp, XpGained, XpSource
from astra.gamification.v1.gamification_service_pb2 import AwardXpRequest
from astra.social.v1.events_pb2 import SocialInteraction
from astra.social.v1.interaction_pb2 import InteractionKind
from astra.trading.v1.events_pb2 import TradeExecuted, TradingRewardsCalculated
from astra.type.v1.money_pb2 import Money

from services.gamification import store as sql
from tests.serving import as_service
from tests.unit_gamification.conftest import Game
from tests.unit_gamification.deliveries import Stream, names, react, recorded

GROUP = "gamification_xp_processors"


def trade(amount: str, user_id: str = "alice") -> TradeExecuted:
    return TradeExecuted(trade_id="t", user_id=user_id, amount=Money(currency_code="USD", amount=amount))


def reward(bonus_xp: int) -> TradingRewardsCalculated:
    return TradingRewardsCalculated(trade_id="t", user_id="alice", bonus_xp=bonus_xp)


def interaction(kind: InteractionKind, *, target: str) -> SocialInteraction:
    return SocialInteraction(interaction_id="i", user_id="bob", target_user_id=target, kind=kind, influence=1)


LIKE, SHARE = InteractionKind.INTERACTION_KIND_LIKE, InteractionKind.INTERACTION_KIND_SHARE
TRADE_SHARE = InteractionKind.INTERACTION_KIND_TRADE_SHARE


async def total_xp(game: Game, user_id: str = "alice") -> int:
    return await game.domain.store.read(lambda db: sql.load_total_xp(db, user_id))


async def award(game: Game, xp: int) -> None:
    await game.stub.AwardXp(AwardXpRequest(user_id="alice", xp=xp), metadata=as_service("nft"))


async def test_a_trade_brings_xp_caused_by_it_in_its_chain(game: Game) -> None:
    delivery = Stream().delivery(trade("1500.00"), correlation_id="story-1")
    assert await react(game.domain, GROUP, delivery) == [True]
    [envelope] = await recorded(game.domain.store)
    assert XpGained.FromString(envelope.data) == XpGained(
        user_id="alice", xp=15, total_xp=15, source=XpSource.XP_SOURCE_TRADE, level=1
    )
    assert (envelope.correlation_id, envelope.causation_id) == ("story-1", delivery.envelope.id)
    assert (envelope.subject, envelope.user_id) == ("alice", "alice")


async def test_a_rise_over_a_level_is_caused_by_the_xp(game: Game) -> None:
    await award(game, 14_950)
    before = len(await recorded(game.domain.store))
    await react(game.domain, GROUP, Stream().delivery(trade("5000.00"), correlation_id="story-2"))
    gained, level_up = (await recorded(game.domain.store))[before:]
    assert names([gained, level_up]) == ["XpGained", "LevelUp"]
    assert LevelUp.FromString(level_up.data) == LevelUp(user_id="alice", old_level=15, new_level=16, total_xp=15_000)
    assert (level_up.causation_id, level_up.correlation_id) == (gained.id, "story-2")


async def test_a_rise_over_several_levels_is_one_level_up(game: Game) -> None:
    await react(game.domain, GROUP, Stream().delivery(trade("350000.00")))
    envelopes = await recorded(game.domain.store)
    assert names(envelopes) == ["XpGained", "LevelUp"]
    assert LevelUp.FromString(envelopes[1].data) == LevelUp(user_id="alice", old_level=1, new_level=4, total_xp=3500)


async def test_a_bonus_of_nothing_brings_nothing(game: Game) -> None:
    stream = Stream()
    await react(game.domain, GROUP, stream.delivery(reward(0)), stream.delivery(reward(7)))
    [envelope] = await recorded(game.domain.store)
    gained = XpGained.FromString(envelope.data)
    assert (gained.xp, gained.source) == (7, XpSource.XP_SOURCE_TRADING_REWARD)


async def test_an_interaction_brings_xp_to_its_target_and_a_trade_share_to_nobody(game: Game) -> None:
    stream = Stream()
    deliveries = [
        stream.delivery(interaction(SHARE, target="alice")),
        stream.delivery(interaction(TRADE_SHARE, target="")),
        stream.delivery(interaction(LIKE, target="bob")),
    ]
    await react(game.domain, GROUP, *deliveries)
    [envelope] = await recorded(game.domain.store)
    gained = XpGained.FromString(envelope.data)
    assert (gained.user_id, gained.xp, gained.source) == ("alice", 10, XpSource.XP_SOURCE_SOCIAL)
    assert await total_xp(game, "bob") == 0


async def test_events_in_any_order_and_repeated_have_one_effect(game: Game) -> None:
    stream, luck = Stream(), random.Random(7)
    deliveries = [stream.delivery(trade(f"{100 * n}.00")) for n in range(1, 30)]
    deliveries += [stream.delivery(reward(n)) for n in range(1, 10)]
    deliveries += [stream.delivery(interaction(LIKE, target="alice")) for _ in range(5)]
    for _ in range(3):
        luck.shuffle(deliveries)
        await react(game.domain, GROUP, *deliveries)
    assert await total_xp(game) == sum(max(10, n) for n in range(1, 30)) + 45 + 10
    assert names(await recorded(game.domain.store)) == ["XpGained"] * len(deliveries)
