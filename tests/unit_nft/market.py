"""A marketplace to test with: the domain, a clock that can be moved, and users' shards in a fake that can fail."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astra.gamification.v1.events_pb2 import LevelUp
from astra.nft.v1 import nft_service_pb2 as pb
from astra.nft.v1.listing_pb2 import Listing, Purchase
from astra.nft.v1.nft_pb2 import Nft
from astra.nft.v1.nft_service_pb2_grpc import NftServiceStub
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.type.v1.money_pb2 import Money
from google.protobuf.message import Message

from services import contracts, nft
from services.domain import Domain
from services.mesh import Mesh
from services.nft.wallets import Refused
from services.runtime.errors import Unavailable
from tests.reacting import START_MS, Streams, react, recorded
from tests.serving import as_user, serving

REWARDS = "nft_reward_distributors"


class FakeWallets:
    """Keeps shards and what was done by request id for ever, as gamification does. It outlives a service's death."""

    def __init__(self, **shards: int) -> None:
        self.shards: Counter[str] = Counter(shards)
        self.done: dict[str, tuple[str, int]] = {}
        self.asked = 0
        self.away = False
        self.loses_answers = False
        self.hangs = ""
        """`before` or `after` the movement."""

    async def debit(self, user_id: str, shards: int, *, request_id: str, purpose: str) -> None:
        if request_id not in self.done and self.shards[user_id] < shards:
            raise Refused("INSUFFICIENT_SHARDS")
        await self._move(user_id, -shards, request_id)

    async def credit(self, user_id: str, shards: int, *, request_id: str, purpose: str) -> None:
        await self._move(user_id, shards, request_id)

    async def _move(self, user_id: str, shards: int, request_id: str) -> None:
        assert shards
        assert len(request_id) <= 64
        self.asked += 1
        if self.away:
            raise Unavailable("away", reason="PEER_UNAVAILABLE")
        if self.hangs == "before":
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        self._apply(user_id, shards, request_id)
        if self.hangs == "after":
            await asyncio.Event().wait()
        if self.loses_answers:
            raise Unavailable("the answer is lost", reason="PEER_UNAVAILABLE")

    def _apply(self, user_id: str, shards: int, request_id: str) -> None:
        if request_id in self.done:
            assert self.done[request_id] == (user_id, shards)
            return
        self.done[request_id] = (user_id, shards)
        self.shards[user_id] += shards


@dataclass
class Market:
    domain: Domain
    stub: NftServiceStub
    wallets: FakeWallets
    now: list[int]
    streams: Streams = field(default_factory=Streams)
    levels: int = 1

    async def happen(self, *events: Message) -> None:
        """Tells nft of events of other domains."""
        await react(self.domain, REWARDS, *map(self.streams.add, events))

    async def pioneer(self, user_id: str, level: int = 0) -> str:
        """Gives a user a level's reward and returns the NFT's id."""
        self.levels += 1
        await self.happen(LevelUp(user_id=user_id, new_level=level or self.levels))
        return (await self.owned(user_id))[0].nft_id

    async def mint(self, user_id: str, genesis_type: str = "first_trade") -> Nft:
        if genesis_type == "first_trade":
            await self.happen(TradeExecuted(user_id=user_id, trade_id=f"t-{user_id}"))
        request = pb.MintNftRequest(genesis_type=genesis_type)
        response: pb.MintNftResponse = await self.stub.MintNft(request, metadata=as_user(user_id))
        return response.nft

    async def offer(self, user_id: str, nft_id: str, price: int = 100) -> Listing:
        request = pb.ListForSaleRequest(nft_id=nft_id, price=shards(price))
        response: pb.ListForSaleResponse = await self.stub.ListForSale(request, metadata=as_user(user_id))
        return response.listing

    async def buy(self, user_id: str, listing_id: str, **more: Any) -> Purchase:
        request = pb.BuyNftRequest(listing_id=listing_id, **more)
        response: pb.BuyNftResponse = await self.stub.BuyNft(request, metadata=as_user(user_id))
        return response.purchase

    async def unlist(self, user_id: str, listing_id: str) -> Listing:
        request = pb.UnlistRequest(listing_id=listing_id)
        response: pb.UnlistResponse = await self.stub.Unlist(request, metadata=as_user(user_id))
        return response.listing

    async def offers(self, **filters: Any) -> list[Listing]:
        request = pb.ListListingsRequest(**filters)
        return list((await self.stub.ListListings(request, metadata=as_user("anyone"))).listings)

    async def owned(self, user_id: str) -> list[Nft]:
        request = pb.ListUserNftsRequest(user_id=user_id, page_size=1000)
        return list((await self.stub.ListUserNfts(request, metadata=as_user("anyone"))).nfts)

    async def events(self, *kinds: type[Message]) -> list[Any]:
        """Returns what was recorded of some kinds, oldest first."""
        streams = {contracts.events()[contracts.stream_of(kind)].full_name: kind for kind in kinds}
        return [streams[e.type].FromString(e.data) for e in await recorded(self.domain) if e.type in streams]


@asynccontextmanager
async def market_at(path: Path, wallets: FakeWallets, *, at_ms: int = START_MS) -> AsyncIterator[Market]:
    """Opens a marketplace; again at the same path it is the same one after a restart."""
    now = [at_ms]
    domain = nft.build(Mesh.at(path), clock=lambda: now[0], wallets=wallets)
    async with serving(domain) as channel:
        yield Market(domain, NftServiceStub(channel), wallets, now)


def shards(amount: int) -> Money:
    return Money(currency_code="SHARDS", amount=str(amount))
