"""Offers and sales: who may do what, how a price is split, and exactly one buyer."""

import asyncio
import itertools
from typing import Any

import grpc
import pytest
from astra.nft.v1 import nft_service_pb2 as pb
from astra.nft.v1.events_pb2 import MarketplaceSale, NftListed, NftSold
from astra.nft.v1.listing_pb2 import ListingState, PurchaseState
from astra.nft.v1.nft_pb2 import Rarity

from services.nft.model_market import LISTING_MS, Split, split
from tests.reacting import START_MS, recorded
from tests.serving import as_user, reason_of
from tests.settling import deliver_own, settle
from tests.unit_nft.market import Market, shards


async def refused(call: Any) -> str:
    """Returns the reason of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


@pytest.mark.parametrize(
    ("price", "has_creator", "proceeds", "platform_fee", "creator_fee"),
    [
        (1000, True, 920, 30, 50),
        (1000, False, 970, 30, 0),
        (100, True, 87, 8, 5),
        (20, True, 13, 6, 1),
        (6, True, 1, 5, 0),
        (5, True, 0, 5, 0),
        (3, False, 0, 3, 0),
        (1, True, 0, 1, 0),
        (1_000_000_000, True, 924_999_995, 25_000_005, 50_000_000),
    ],
)
def test_a_price_is_split(price: int, has_creator: bool, proceeds: int, platform_fee: int, creator_fee: int) -> None:
    assert split(price, has_creator=has_creator) == Split(
        proceeds=proceeds, platform_fee=platform_fee, creator_fee=creator_fee
    )


def test_nothing_of_a_price_is_lost_or_below_zero() -> None:
    for price, has_creator in itertools.product(range(1, 3000), (True, False)):
        parts = split(price, has_creator=has_creator)
        assert min(parts.proceeds, parts.platform_fee, parts.creator_fee) >= 0
        assert parts.proceeds + parts.platform_fee + parts.creator_fee == price


async def test_a_sale_transfers_the_nft_and_credits_seller_and_fees(market: Market) -> None:
    nft = await market.mint("alice")
    listing = await market.offer("alice", nft.nft_id, price=1000)
    assert listing.expire_time.ToMilliseconds() == START_MS + LISTING_MS
    purchase = await market.buy("bob", listing.listing_id)
    assert purchase.state == PurchaseState.PURCHASE_STATE_COMPLETED
    assert [owned.nft_id for owned in await market.owned("bob")] == [nft.nft_id]
    assert await market.owned("alice") == []
    await settle(market.domain)
    assert dict(market.wallets.shards) == {"alice": 970, "bob": 0, "carol": 1000}
    [sale] = await market.events(MarketplaceSale)
    assert [money.amount for money in (sale.proceeds, sale.platform_fee, sale.creator_fee)] == ["970", "30", "0"]
    _, listed, sold, settled = await recorded(market.domain)
    assert (settled.causation_id, settled.correlation_id) == (sold.id, sold.correlation_id)
    assert (listed.user_id, sold.user_id) == ("alice", "alice")


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["genesis", "rare pioneer", "pioneer"]),
        ({"rarity": "RARITY_RARE"}, ["rare pioneer"]),
        ({"rarity": "RARITY_EPIC"}, []),
        ({"reward_kind": "REWARD_KIND_LEVEL"}, ["rare pioneer", "pioneer"]),
        ({"reward_kind": "REWARD_KIND_LEVEL", "rarity": "RARITY_UNCOMMON"}, ["pioneer"]),
        ({"listed_only": True}, ["pioneer"]),
        ({"listed_only": True, "rarity": "RARITY_RARE"}, []),
    ],
)
async def test_a_users_nfts_are_listed_by_what_is_asked(
    market: Market, filters: dict[str, Any], found: list[str]
) -> None:
    names = {await market.pioneer("alice", 3): "pioneer", await market.pioneer("alice", 20): "rare pioneer"}
    names[(await market.mint("alice")).nft_id] = "genesis"
    await market.pioneer("bob", 20)
    await market.offer("alice", next(iter(names)))
    request = pb.ListUserNftsRequest(user_id="alice", **filters)
    listed = (await market.stub.ListUserNfts(request, metadata=as_user("anyone"))).nfts
    assert [names[nft.nft_id] for nft in listed] == found


async def test_the_creator_of_a_reward_has_a_part_of_every_resale(market: Market) -> None:
    nft_id = await market.pioneer("alice")
    await market.buy("bob", (await market.offer("alice", nft_id, price=1000)).listing_id)
    await settle(market.domain)
    assert market.wallets.shards["alice"] == 920 + 50
    await market.buy("carol", (await market.offer("bob", nft_id, price=500)).listing_id)
    await settle(market.domain)
    assert market.wallets.shards == {"alice": 970 + 25, "bob": 500 - 25 - 18, "carol": 500}
    assert [event.creator_user_id for event in await market.events(NftSold)] == ["alice", "alice"]
    assert [nft.nft_id for nft in await market.owned("carol")] == [nft_id]


async def test_a_buyer_without_the_shards_gets_nothing_and_the_offer_is_free_again(market: Market) -> None:
    listing = await market.offer("alice", await market.pioneer("alice"), price=1001)
    assert await refused(market.buy("bob", listing.listing_id, request_id="r")) == "INSUFFICIENT_SHARDS"
    assert await refused(market.buy("bob", listing.listing_id, request_id="r")) == "INSUFFICIENT_SHARDS"
    [offered] = await market.offers()
    assert (offered.listing_id, offered.state) == (listing.listing_id, ListingState.LISTING_STATE_ACTIVE)
    market.wallets.shards["carol"] = 1001
    await market.buy("carol", listing.listing_id)
    assert await market.events(NftSold)


async def test_what_the_rules_forbid_is_told_apart(market: Market) -> None:
    nft_id = await market.pioneer("alice")
    assert await refused(market.offer("bob", nft_id)) == "NOT_OWNER"
    assert await refused(market.offer("alice", "nothing")) == "NFT_NOT_FOUND"
    listing = await market.offer("alice", nft_id)
    assert (await market.owned("alice"))[0].listing_id == listing.listing_id
    assert await refused(market.offer("alice", nft_id)) == "ALREADY_LISTED"
    assert await refused(market.buy("alice", listing.listing_id)) == "OWN_LISTING"
    assert await refused(market.buy("bob", "nothing")) == "LISTING_NOT_FOUND"
    assert await refused(market.unlist("bob", listing.listing_id)) == "NOT_OWNER"
    assert (await market.unlist("alice", listing.listing_id)).state == ListingState.LISTING_STATE_UNLISTED
    assert await refused(market.unlist("alice", listing.listing_id)) == "LISTING_NOT_ACTIVE"
    assert await refused(market.buy("bob", listing.listing_id)) == "LISTING_NOT_ACTIVE"
    assert await market.offers() == []
    assert market.wallets.asked == 0


@pytest.mark.parametrize(
    "price", [shards(0), shards(-1), shards(1_000_000_001), {"currency_code": "USD", "amount": "1"}]
)
async def test_a_price_that_is_none_is_refused(market: Market, price: Any) -> None:
    nft_id = await market.pioneer("alice")
    request = pb.ListForSaleRequest(nft_id=nft_id, price=price)
    assert await refused(market.stub.ListForSale(request, metadata=as_user("alice"))) == "INVALID_FIELD"


async def test_64_buyers_of_one_listing_are_one(market: Market) -> None:
    buyers = [f"buyer{n}" for n in range(64)]
    market.wallets.shards.update(dict.fromkeys(buyers, 100))
    listing = await market.offer("alice", await market.pioneer("alice"))
    outcomes = await asyncio.gather(
        *(market.buy(buyer, listing.listing_id) for buyer in buyers), return_exceptions=True
    )
    [won] = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    refusals = {reason_of(o) for o in outcomes if isinstance(o, grpc.aio.AioRpcError)}
    assert refusals == {"LISTING_NOT_ACTIVE"}
    assert [market.wallets.shards[buyer] for buyer in buyers].count(0) == 1
    assert market.wallets.shards[buyers[won]] == 0
    assert len(await market.owned(buyers[won])) == len(await market.events(NftSold)) == 1


async def test_64_repeats_of_one_purchase_are_one(market: Market) -> None:
    listing = await market.offer("alice", await market.pioneer("alice"))
    made = await asyncio.gather(*(market.buy("bob", listing.listing_id, request_id="r") for _ in range(64)))
    assert {(purchase.purchase_id, purchase.state) for purchase in made} == {
        (made[0].purchase_id, PurchaseState.PURCHASE_STATE_COMPLETED)
    }
    assert market.wallets.shards["bob"] == 900


async def test_an_offer_ends_after_30_days(market: Market) -> None:
    nft_id = await market.pioneer("alice")
    listing = await market.offer("alice", nft_id)
    await settle(market.domain)
    market.now[0] += LISTING_MS - 1
    await settle(market.domain)
    assert len(await market.offers()) == 1
    market.now[0] += 1
    assert await market.offers() == [], "on time, even if its timer is late"
    assert await refused(market.buy("bob", listing.listing_id)) == "LISTING_NOT_ACTIVE"
    await settle(market.domain)
    assert await refused(market.unlist("alice", listing.listing_id)) == "LISTING_NOT_ACTIVE"
    again = await market.offer("alice", nft_id)
    await market.buy("bob", again.listing_id)
    assert len(await market.events(NftListed)) == 2


async def test_an_offer_that_is_over_does_not_block_the_next_though_its_timer_is_late(market: Market) -> None:
    nft_id = await market.pioneer("alice")
    await market.offer("alice", nft_id)
    market.now[0] += LISTING_MS
    await market.offer("alice", nft_id)
    assert len(await market.offers()) == 1


async def test_an_offer_that_ran_out_while_it_was_reserved_ends_with_the_failed_purchase(market: Market) -> None:
    listing = await market.offer("alice", await market.pioneer("alice"), price=2_000)
    await settle(market.domain)
    market.wallets.shards["bob"] = 2_000
    market.wallets.away = True
    await market.buy("bob", listing.listing_id)
    market.now[0] += LISTING_MS
    market.wallets.away, market.wallets.shards["bob"] = False, 0
    await settle(market.domain)
    assert await refused(market.unlist("alice", listing.listing_id)) == "LISTING_NOT_ACTIVE"
    assert await market.events(NftSold) == []


async def test_offers_are_listed_newest_first_in_pages_and_filtered(market: Market) -> None:
    listings = []
    for n, seller in enumerate(["alice", "bob"] * 3):
        listings.append(await market.offer(seller, await market.pioneer(seller, level=14 + n), price=10 * (n + 1)))
    ids = [listing.listing_id for listing in reversed(listings)]
    assert [listing.listing_id for listing in await market.offers()] == ids
    page = await market.stub.ListListings(pb.ListListingsRequest(page_size=4), metadata=as_user("x"))
    rest = pb.ListListingsRequest(page_size=4, page_token=page.next_page_token)
    last = await market.stub.ListListings(rest, metadata=as_user("x"))
    assert [each.listing_id for each in (*page.listings, *last.listings)] == ids
    assert {each.seller_user_id for each in await market.offers(seller_user_id="bob")} == {"bob"}
    assert {each.rarity for each in await market.offers(rarity=Rarity.RARITY_RARE)} == {Rarity.RARITY_RARE}
    assert [each.price.amount for each in await market.offers(max_price=shards(20))] == ["20", "10"]
    assert await refused(market.offers(max_price=shards(0))) == "INVALID_FIELD"


async def test_events_delivered_again_and_backwards_settle_once(market: Market) -> None:
    listing = await market.offer("alice", await market.pioneer("alice"))
    await market.buy("bob", listing.listing_id)
    await deliver_own(market.domain, backwards=True)
    await settle(market.domain)
    assert not await deliver_own(market.domain, backwards=True)
    assert len(await market.events(MarketplaceSale)) == 1
    assert market.wallets.shards == {"alice": 92, "bob": 900, "carol": 1000}
