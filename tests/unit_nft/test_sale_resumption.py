"""A sale is carried on, whatever dies or is away between its steps, and nobody is debited or credited twice."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import grpc
import pytest
from astra.nft.v1.events_pb2 import MarketplaceSale, NftSold
from astra.nft.v1.listing_pb2 import PurchaseState

from services.runtime.sagas import LEASE_MS, RETRY_CAP_MS
from tests.reacting import START_MS, recorded
from tests.serving import reason_of
from tests.settling import carry_on, deliver_own, settle
from tests.unit_nft.market import FakeWallets, Market, market_at

PENDING = PurchaseState.PURCHASE_STATE_PENDING
AFTER = {"alice": 87 + 5, "bob": 0}
"""Shards after bob bought alice's reward with his last 100."""


async def cut_off(call: Awaitable[object]) -> None:
    """Ends the caller, and with it the handler, in the middle of a call."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await call


@pytest.mark.parametrize("hangs", ["before", "after"])
async def test_a_purchase_whose_process_died_is_finished_by_the_next_one(tmp_path: Path, hangs: str) -> None:
    wallets = FakeWallets(bob=100)
    async with market_at(tmp_path, wallets) as market:
        listing = await market.offer("alice", await market.pioneer("alice"))
        wallets.hangs = hangs
        await cut_off(market.buy("bob", listing.listing_id, request_id="r"))
        assert wallets.shards["bob"] == (100 if hangs == "before" else 0)
        assert await market.owned("bob") == []
    wallets.hangs = ""
    async with market_at(tmp_path, wallets, at_ms=START_MS + LEASE_MS - 1) as market:
        assert not await carry_on(market.domain), "the lease of the dead still holds"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await market.buy("carol", listing.listing_id)
        assert reason_of(caught.value) == "LISTING_NOT_ACTIVE"
    async with market_at(tmp_path, wallets, at_ms=START_MS + LEASE_MS) as market:
        await settle(market.domain)
        assert (wallets.shards, len(await market.owned("bob"))) == (AFTER, 1)
        assert len(await market.events(NftSold)) == len(await market.events(MarketplaceSale)) == 1
        repeated = await market.buy("bob", listing.listing_id, request_id="r")
        assert repeated.state == PurchaseState.PURCHASE_STATE_COMPLETED


async def test_without_the_request_id_the_next_process_would_debit_twice(tmp_path: Path) -> None:
    """The control: wallets that tell movements apart by the call take the shards again."""

    class Forgets(FakeWallets):
        def _apply(self, user_id: str, shards: int, request_id: str) -> None:
            super()._apply(user_id, shards, f"{request_id}-{self.asked}")

    wallets = Forgets(bob=200)
    async with market_at(tmp_path, wallets) as market:
        listing = await market.offer("alice", await market.pioneer("alice"))
        wallets.hangs = "after"
        await cut_off(market.buy("bob", listing.listing_id))
    wallets.hangs = ""
    async with market_at(tmp_path, wallets, at_ms=START_MS + LEASE_MS) as market:
        await settle(market.domain)
        assert wallets.shards["bob"] == 0


@pytest.mark.parametrize("done", [0, 1, 2])
async def test_a_settlement_that_died_at_any_step_credits_each_once(tmp_path: Path, done: int) -> None:
    """It dies after so many of its two credits, seller's and creator's."""

    class DiesAt(FakeWallets):
        deadly = True

        async def credit(self, user_id: str, shards: int, *, request_id: str, purpose: str) -> None:
            if self.deadly and done == 0:
                raise asyncio.CancelledError
            await super().credit(user_id, shards, request_id=request_id, purpose=purpose)
            if self.deadly and sum(shards > 0 for _, shards in self.done.values()) == done:
                raise asyncio.CancelledError

    wallets = DiesAt(bob=100)
    async with market_at(tmp_path, wallets) as market:
        await market.buy("bob", (await market.offer("alice", await market.pioneer("alice"))).listing_id)
        await deliver_own(market.domain)
        await carry_on(market.domain)
        assert await market.events(MarketplaceSale) == []
    wallets.deadly = False
    async with market_at(tmp_path, wallets, at_ms=START_MS + LEASE_MS) as market:
        await settle(market.domain)
        assert wallets.shards == AFTER
        assert len(await market.events(MarketplaceSale)) == 1


async def test_a_lost_answer_leaves_the_purchase_pending_until_it_is_told_again(market: Market) -> None:
    listing = await market.offer("alice", await market.pioneer("alice"))
    market.wallets.loses_answers = True
    assert (await market.buy("bob", listing.listing_id)).state == PENDING
    assert (market.wallets.shards["bob"], await market.owned("bob")) == (900, [])
    market.wallets.loses_answers = False
    market.now[0] += RETRY_CAP_MS
    await settle(market.domain)
    assert market.wallets.shards == {"alice": 92, "bob": 900, "carol": 1000}
    assert len(await market.owned("bob")) == 1
    assert {envelope.correlation_id for envelope in (await recorded(market.domain))[-2:]} == {
        (await recorded(market.domain))[-1].correlation_id
    }


async def test_while_gamification_is_away_an_offer_stays_reserved_and_is_sold_when_it_is_back(market: Market) -> None:
    listing = await market.offer("alice", await market.pioneer("alice"))
    market.wallets.away = True
    assert (await market.buy("bob", listing.listing_id)).state == PENDING
    for _ in range(10):
        market.now[0] += RETRY_CAP_MS
        await carry_on(market.domain)
    assert await market.offers() == []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await market.unlist("alice", listing.listing_id)
    assert reason_of(caught.value) == "LISTING_NOT_ACTIVE"
    market.wallets.away = False
    market.now[0] += RETRY_CAP_MS
    await settle(market.domain)
    assert len(await market.events(NftSold)) == len(await market.events(MarketplaceSale)) == 1
    assert market.wallets.shards["bob"] == 900
