"""Genesis NFTs: who may mint which, how rare it is, and once each."""

import asyncio

import grpc
import pytest
from astra.gamification.v1.events_pb2 import AchievementUnlocked, LevelUp
from astra.nft.v1 import nft_service_pb2 as pb
from astra.nft.v1.events_pb2 import NftMinted
from astra.nft.v1.genesis_pb2 import EligibleAchievement
from astra.nft.v1.nft_pb2 import Rarity
from astra.social.v1.events_pb2 import ClanMemberJoined, SocialInteraction
from astra.trading.v1.events_pb2 import TradeExecuted
from google.protobuf.message import Message

from tests.reacting import recorded
from tests.serving import as_user, reason_of
from tests.unit_nft.market import REWARDS, Market

ALICE = as_user("alice")


def liked(user_id: str, times: int, by: str = "bob") -> list[Message]:
    return [SocialInteraction(user_id=by, target_user_id=user_id, interaction_id=f"i{n}") for n in range(times)]


def mastered(achievement_id: str) -> AchievementUnlocked:
    return AchievementUnlocked(user_id="alice", achievement_id=achievement_id, display_name="A", rarity="epic")


async def achievement(market: Market, genesis_type: str) -> EligibleAchievement:
    request = pb.ListEligibleAchievementsRequest()
    response: pb.ListEligibleAchievementsResponse = await market.stub.ListEligibleAchievements(request, metadata=ALICE)
    return next(each for each in response.achievements if each.genesis_type == genesis_type)


async def mint(market: Market, genesis_type: str) -> pb.MintNftResponse:
    response: pb.MintNftResponse = await market.stub.MintNft(
        pb.MintNftRequest(genesis_type=genesis_type), metadata=ALICE
    )
    return response


@pytest.mark.parametrize(
    ("genesis_type", "events", "rarity"),
    [
        ("first_trade", [], None),
        ("first_trade", [TradeExecuted(user_id="bob")], None),
        ("first_trade", [TradeExecuted(user_id="alice")], "COMMON"),
        ("level_milestone", [LevelUp(user_id="alice", new_level=24)], None),
        ("level_milestone", [LevelUp(user_id="alice", new_level=25)], "UNCOMMON"),
        ("level_milestone", [LevelUp(user_id="alice", new_level=49)], "UNCOMMON"),
        ("level_milestone", [LevelUp(user_id="alice", new_level=50)], "RARE"),
        ("level_milestone", [LevelUp(user_id="alice", new_level=n) for n in (50, 26)], "RARE"),
        ("constellation_founder", [ClanMemberJoined(user_id="alice", clan_id="c", member_count=2)], None),
        ("constellation_founder", [ClanMemberJoined(user_id="alice", clan_id="c", member_count=1)], "EPIC"),
        ("viral_legend", liked("alice", 999), None),
        ("viral_legend", [*liked("alice", 999), *liked("alice", 5, by="alice")], None),
        ("viral_legend", liked("alice", 1000), "EPIC"),
        ("trading_master", [mastered("seasoned_trader")], None),
        ("trading_master", [mastered("trading_master")], "LEGENDARY"),
    ],
)
async def test_each_type_takes_its_feat(
    market: Market, genesis_type: str, events: list[Message], rarity: str | None
) -> None:
    await market.happen(*events)
    shown = await achievement(market, genesis_type)
    assert (shown.eligible, shown.minted) == (rarity is not None, False)
    if rarity is None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await mint(market, genesis_type)
        assert (caught.value.code().name, reason_of(caught.value)) == ("FAILED_PRECONDITION", "NOT_ELIGIBLE")
        assert shown.progress < shown.goal
        return
    nft = (await mint(market, genesis_type)).nft
    assert (Rarity.Name(nft.rarity), nft.genesis_type) == (f"RARITY_{rarity}", genesis_type)
    assert (nft.owner_user_id, nft.creator_user_id, nft.reward_kind) == ("alice", "", 0)
    assert shown.rarity == nft.rarity
    [event] = await market.events(NftMinted)
    assert (event.nft_id, event.user_id, event.genesis_type) == (nft.nft_id, "alice", genesis_type)
    shown = await achievement(market, genesis_type)
    assert (shown.eligible, shown.minted, shown.progress) == (False, True, shown.goal)


async def test_feats_alone_record_nothing(market: Market) -> None:
    await market.happen(
        TradeExecuted(user_id="alice"), *liked("alice", 3), ClanMemberJoined(user_id="a", clan_id="c", member_count=1)
    )
    assert await recorded(market.domain) == []


async def test_64_mints_at_once_make_one(market: Market) -> None:
    await market.happen(TradeExecuted(user_id="alice"))
    outcomes = await asyncio.gather(*(mint(market, "first_trade") for _ in range(64)), return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert {(error.code().name, reason_of(error)) for error in refusals} == {("ALREADY_EXISTS", "ALREADY_MINTED")}
    assert len(refusals) == 63
    assert len(await market.owned("alice")) == len(await market.events(NftMinted)) == 1


async def test_a_type_is_not_minted_again_after_it_was_sold(market: Market) -> None:
    listing = await market.offer("alice", (await market.mint("alice")).nft_id)
    await market.buy("bob", listing.listing_id)
    with pytest.raises(grpc.aio.AioRpcError, match="minted once a user"):
        await mint(market, "first_trade")
    await market.mint("bob")


async def test_an_unknown_type_is_refused_with_those_there_are(market: Market) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="constellation_founder, first_trade") as caught:
        await mint(market, "first")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_types_are_listed_by_name_in_pages(market: Market) -> None:
    names, token = [], ""
    while True:
        request = pb.ListEligibleAchievementsRequest(page_size=2, page_token=token)
        page = await market.stub.ListEligibleAchievements(request, metadata=ALICE)
        names += [each.genesis_type for each in page.achievements]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(names)
    assert len(names) == len(set(names)) == 5


def test_nfts_read_models_hang_on_the_reward_group() -> None:
    from services.nft.reactions import GROUPS

    assert {group.name: group.consumers for group in GROUPS} == {REWARDS: 1, "marketplace_processors": 2}
