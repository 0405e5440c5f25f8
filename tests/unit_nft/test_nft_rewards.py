"""What is rewarded with which NFT, once each, and how NFTs are read."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
from astra.gamification.v1.events_pb2 import AchievementUnlocked, LevelUp
from astra.nft.v1 import nft_service_pb2 as pb
from astra.nft.v1.events_pb2 import RewardDistributed
from astra.nft.v1.nft_pb2 import Rarity as RarityProto
from astra.nft.v1.nft_pb2 import RewardKind as RewardKindProto
from astra.nft.v1.nft_service_pb2_grpc import NftServiceStub
from astra.trading.v1.events_pb2 import TradingRewardsCalculated
from astra.type.v1.money_pb2 import Money
from google.protobuf.message import Message

from services import nft
from services.domain import Domain
from services.mesh import Mesh
from services.nft.model import SCORES, Rarity, RewardKind, badge, level_reward, medal
from services.runtime.errors import InvalidArgument
from tests.reacting import START_MS, Streams, react, recorded
from tests.serving import as_user, reason_of, serving

ALICE = as_user("alice")
GROUP = "nft_reward_distributors"


@dataclass
class Gallery:
    domain: Domain
    stub: NftServiceStub
    streams: Streams

    async def names(self, user_id: str = "alice") -> list[str]:
        response = await self.stub.ListUserNfts(pb.ListUserNftsRequest(user_id=user_id), metadata=ALICE)
        return [nft.display_name for nft in response.nfts]


@pytest.fixture
async def gallery(tmp_path: Path) -> AsyncIterator[Gallery]:
    domain = nft.build(Mesh.at(tmp_path), clock=lambda: START_MS)
    async with serving(domain) as channel:
        yield Gallery(domain, NftServiceStub(channel), Streams())


def level_up(new: int, old: int | None = None, user_id: str = "alice") -> LevelUp:
    return LevelUp(user_id=user_id, old_level=new - 1 if old is None else old, new_level=new)


def unlocked(achievement_id: str = "first_steps", rarity: str = "common") -> AchievementUnlocked:
    return AchievementUnlocked(
        user_id="alice", achievement_id=achievement_id, display_name="First Steps", rarity=rarity
    )


def rewards(trade_id: str, pnl: str) -> TradingRewardsCalculated:
    return TradingRewardsCalculated(trade_id=trade_id, user_id="alice", pnl=Money(currency_code="USD", amount=pnl))


@pytest.mark.parametrize(
    ("level", "rarity"),
    [(2, Rarity.UNCOMMON), (15, Rarity.UNCOMMON), (16, Rarity.RARE), (17, Rarity.RARE), (100, Rarity.RARE)],
)
def test_a_level_is_rewarded_with_a_pioneer_that_is_rare_from_16(level: int, rarity: Rarity) -> None:
    reward = level_reward(level)
    assert (reward.display_name, reward.rarity) == (f"Level {level} Pioneer", rarity)


@pytest.mark.parametrize("rarity", list(Rarity))
def test_a_badge_is_as_rare_as_its_achievement(rarity: Rarity) -> None:
    assert badge("a", "A", rarity.name.lower()).rarity is rarity


def test_a_badge_of_an_unknown_rarity_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="common, uncommon"):
        badge("a", "A", "mythic")


@pytest.mark.parametrize(("pnl", "granted"), [("499.99", False), ("500.00", False), ("500.01", True), ("9999", True)])
def test_a_medal_takes_a_profit_above_500(pnl: str, granted: bool) -> None:
    reward = medal("t", Decimal(pnl))
    assert (reward is not None) == granted
    assert reward is None or reward.rarity is Rarity.UNCOMMON


def test_scores_and_enums_are_those_of_the_contract() -> None:
    assert [str(SCORES[rarity]) for rarity in Rarity] == ["1", "2.5", "5", "10", "25"]
    assert {f"RARITY_{rarity.name}": rarity.value for rarity in Rarity}.items() <= dict(RarityProto.items()).items()
    assert {f"REWARD_KIND_{kind.name}": kind.value for kind in RewardKind}.items() <= dict(
        RewardKindProto.items()
    ).items()


async def test_a_level_up_distributes_its_reward_and_nothing_else(gallery: Gallery) -> None:
    cause = gallery.streams.add(level_up(16))
    await react(gallery.domain, GROUP, cause)
    [envelope] = await recorded(gallery.domain)
    event = RewardDistributed.FromString(envelope.data)
    assert (event.user_id, event.display_name) == ("alice", "Level 16 Pioneer")
    assert (event.rarity, event.kind) == (RarityProto.RARITY_RARE, RewardKindProto.REWARD_KIND_LEVEL)
    assert (envelope.causation_id, envelope.correlation_id, envelope.user_id) == (cause.envelope.id, "chain", "alice")
    nft = (await gallery.stub.GetNft(pb.GetNftRequest(nft_id=event.nft_id), metadata=ALICE)).nft
    assert (nft.owner_user_id, nft.display_name, nft.rarity_score) == ("alice", "Level 16 Pioneer", "5")
    assert (nft.rarity, nft.reward_kind) == (event.rarity, event.kind)
    assert nft.create_time.ToMilliseconds() == START_MS


async def test_a_rise_over_several_levels_is_one_nft_for_the_new_one(gallery: Gallery) -> None:
    await react(gallery.domain, GROUP, gallery.streams.add(level_up(5, old=2)))
    assert await gallery.names() == ["Level 5 Pioneer"]


@pytest.mark.parametrize(
    "event", [level_up(3), unlocked(), rewards("t1", "500.01")], ids=lambda event: event.DESCRIPTOR.name
)
async def test_the_same_feat_told_twice_is_rewarded_once(gallery: Gallery, event: Message) -> None:
    await react(gallery.domain, GROUP, *(gallery.streams.add(event) for _ in range(2)))
    assert len(await gallery.names()) == len(await recorded(gallery.domain)) == 1


async def test_another_user_gets_a_reward_of_its_own_for_the_same_level(gallery: Gallery) -> None:
    await react(gallery.domain, GROUP, *(gallery.streams.add(level_up(3, user_id=user)) for user in ("alice", "bob")))
    assert await gallery.names("alice") == await gallery.names("bob") == ["Level 3 Pioneer"]


async def test_a_small_profit_is_no_medal(gallery: Gallery) -> None:
    await react(gallery.domain, GROUP, gallery.streams.add(rewards("t1", "500.00")))
    assert await recorded(gallery.domain) == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_repeated_deliveries_in_any_order_have_one_effect(gallery: Gallery, order: tuple[int, ...]) -> None:
    events = (level_up(2), unlocked(rarity="rare"), rewards("t1", "750.00"))
    deliveries = [gallery.streams.add(event) for event in events]
    await react(gallery.domain, GROUP, *(deliveries[n] for n in (*order, *order)))
    assert sorted(await gallery.names()) == ["First Steps Badge", "Level 2 Pioneer", "Profit Medal"]
    assert len(await recorded(gallery.domain)) == 3


async def test_an_nft_that_is_not_there_is_not_found(gallery: Gallery) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gallery.stub.GetNft(pb.GetNftRequest(nft_id="nothing"), metadata=ALICE)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert reason_of(caught.value) == "NFT_NOT_FOUND"


async def test_nfts_are_listed_newest_first_in_pages(gallery: Gallery) -> None:
    await react(gallery.domain, GROUP, *(gallery.streams.add(level_up(level)) for level in range(2, 7)))
    await react(gallery.domain, GROUP, gallery.streams.add(level_up(9, user_id="bob")))
    token, seen = "", []
    while True:
        request = pb.ListUserNftsRequest(user_id="alice", page_size=2, page_token=token)
        page = await gallery.stub.ListUserNfts(request, metadata=as_user("bob"))
        assert len(page.nfts) <= 2
        seen += [nft.display_name for nft in page.nfts]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"Level {level} Pioneer" for level in range(6, 1, -1)]


async def test_a_user_without_nfts_has_an_empty_list(gallery: Gallery) -> None:
    assert await gallery.names("nobody") == []
