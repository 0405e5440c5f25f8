"""Random commands of three users, with time passing and answers getting lost; then every NFT and shard is there."""

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
from astra.nft.v1.events_pb2 import MarketplaceSale, NftMinted, NftSold
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.nft.model_market import LISTING_MS
from services.runtime.sagas import RETRY_CAP_MS
from tests.settling import settle
from tests.unit_nft.market import FakeWallets, Market, market_at

NAMES = ("alice", "bob", "carol")
USERS, PICKS = st.sampled_from(NAMES), st.integers(0, 50)
OPENING = 1_000


class Marketplace(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.closing = AsyncExitStack()
        self.wallets = FakeWallets(**dict.fromkeys(NAMES, OPENING))
        self.market: Market = self.runner.run(self.closing.enter_async_context(market_at(self.folder, self.wallets)))
        self.nfts = 0
        self.listings: list[str] = []

    def teardown(self) -> None:
        self.runner.run(self.closing.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    def attempt(self, call: Any) -> Any:
        """Makes a call; that it may be refused is part of the game, that it breaks is not."""

        async def made() -> Any:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ALREADY_EXISTS}:
                    raise
                return None

        return self.runner.run(made())

    @rule(user=USERS)
    def reward(self, user: str) -> None:
        self.runner.run(self.market.pioneer(user))
        self.nfts += 1

    @rule(user=USERS)
    def mint(self, user: str) -> None:
        if self.attempt(lambda: self.market.mint(user)):
            self.nfts += 1

    @rule(user=USERS, owner=USERS, pick=PICKS, price=st.integers(1, 1_200))
    def offer(self, user: str, owner: str, pick: int, price: int) -> None:
        async def call() -> None:
            owned = await self.market.owned(owner)
            if owned:
                listing = await self.market.offer(user, owned[pick % len(owned)].nft_id, price)
                self.listings.append(listing.listing_id)

        self.attempt(call)

    @precondition(lambda self: self.listings)
    @rule(user=USERS, pick=PICKS)
    def unlist(self, user: str, pick: int) -> None:
        self.attempt(lambda: self.market.unlist(user, self.listings[pick % len(self.listings)]))

    @precondition(lambda self: self.listings)
    @rule(buyers=st.lists(USERS, min_size=1, max_size=3), pick=PICKS)
    def buy(self, buyers: list[str], pick: int) -> None:
        listing_id = self.listings[-1 - pick % len(self.listings)]

        async def call() -> None:
            calls = [self.market.buy(buyer, listing_id) for buyer in buyers]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) <= 1

        self.attempt(call)

    @rule(lost=st.booleans(), away=st.booleans())
    def disturb(self, lost: bool, away: bool) -> None:
        self.wallets.loses_answers, self.wallets.away = lost, away

    @rule(part=st.sampled_from([0.1, 0.5, 1.0]))
    def pass_time(self, part: float) -> None:
        self.market.now[0] += int(LISTING_MS * part)

    @precondition(lambda self: not (self.wallets.loses_answers or self.wallets.away))
    @rule()
    def come_to_rest(self) -> None:
        self.market.now[0] += RETRY_CAP_MS
        self.runner.run(settle(self.market.domain))
        self.runner.run(self._everything_is_accounted_for())

    @invariant()
    def each_nft_has_one_owner_and_each_type_was_minted_once(self) -> None:
        owned = [nft.nft_id for user in NAMES for nft in self.runner.run(self.market.owned(user))]
        assert len(owned) == len(set(owned)) == self.nfts
        minted = [(event.user_id, event.genesis_type) for event in self.runner.run(self.market.events(NftMinted))]
        assert len(minted) == len(set(minted))

    @invariant()
    def nobody_is_in_debt(self) -> None:
        assert all(shards >= 0 for shards in self.wallets.shards.values())

    async def _everything_is_accounted_for(self) -> None:
        """Once nothing is on its way: what buyers paid, sellers, creators and the platform got."""
        sold, settled = await self.market.events(NftSold), await self.market.events(MarketplaceSale)
        assert len(sold) == len(settled)
        assert {each.listing_id for each in sold} == {each.listing_id for each in settled}
        platform = sum(int(each.platform_fee.amount) for each in settled)
        assert sum(self.wallets.shards.values()) + platform == OPENING * len(NAMES)
        open_ones = {each.nft_id: each.seller_user_id for each in await self.market.offers()}
        owners = {nft.nft_id: user for user in NAMES for nft in await self.market.owned(user)}
        assert all(owners[nft_id] == seller for nft_id, seller in open_ones.items())
        reserved = await self.market.domain.store.read(
            lambda db: db.value("SELECT count(*) FROM listing WHERE state = 2")
        )
        assert reserved == 0


TestMarketplace = Marketplace.TestCase
TestMarketplace.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
