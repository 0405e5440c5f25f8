"""NftService: proto in, model call, proto out."""

from astra.nft.v1 import nft_service_pb2 as pb
from astra.nft.v1.events_pb2 import NftMinted
from astra.nft.v1.genesis_pb2 import EligibleAchievement
from astra.nft.v1.nft_pb2 import Rarity

from services.nft import genesis_rows
from services.nft import store as sql
from services.nft.market_calls import MarketCalls
from services.nft.model_genesis import GENESIS, GenesisType, check_eligible, genesis_type
from services.runtime.call import Call
from services.runtime.errors import AlreadyExists
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.sagas import Sagas
from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx


class NftApi:
    """Serves the rpcs of nft."""

    def __init__(self, store: Store, sagas: Sagas) -> None:
        self._store = store
        market = MarketCalls(store, sagas)
        self.list_for_sale, self.unlist = market.list_for_sale, market.unlist
        self.buy_nft, self.list_listings = market.buy_nft, market.list_listings

    async def get_nft(self, request: pb.GetNftRequest, call: Call) -> pb.GetNftResponse:
        row = await self._store.read(lambda db: sql.load_nft(db, request.nft_id))
        return pb.GetNftResponse(nft=sql.nft_message(row))

    async def list_user_nfts(self, request: pb.ListUserNftsRequest, call: Call) -> pb.ListUserNftsResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, str)
        rows = await self._store.read(
            lambda db: sql.list_nfts(
                db,
                request.user_id,
                rarity=request.rarity,
                reward_kind=request.reward_kind,
                listed_only=request.listed_only,
                before=key[0] if key else None,
                limit=size + 1,
            )
        )
        return pb.ListUserNftsResponse(
            nfts=map(sql.nft_message, rows[:size]),
            next_page_token=page_token(rows[size - 1]["nft_id"]) if len(rows) > size else "",
        )

    async def mint_nft(self, request: pb.MintNftRequest, call: Call) -> pb.MintNftResponse:
        kind = genesis_type(request.genesis_type)

        def work(tx: Tx) -> pb.MintNftResponse:
            if genesis_rows.was_minted(tx, request.user_id, kind):
                raise AlreadyExists(
                    f"{kind.name} is minted once a user, and you have minted yours",
                    reason="ALREADY_MINTED",
                    genesis_type=kind.name,
                )
            progress = genesis_rows.load_feat(tx, request.user_id, kind.feat)
            check_eligible(kind, progress)
            rarity = kind.rarity_at(progress)
            nft_id = genesis_rows.insert_genesis(tx, request.user_id, kind, rarity)
            tx.record(
                NftMinted(nft_id=nft_id, user_id=request.user_id, genesis_type=kind.name, rarity=Rarity.Name(rarity))
            )
            return pb.MintNftResponse(nft=sql.nft_message(sql.load_nft(tx, nft_id)))

        return await call.write(self._store, work)

    async def list_eligible_achievements(
        self, request: pb.ListEligibleAchievementsRequest, call: Call
    ) -> pb.ListEligibleAchievementsResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, str)
        kinds = [kind for name, kind in GENESIS.items() if key is None or name > key[0]]
        return pb.ListEligibleAchievementsResponse(
            achievements=await self._store.read(
                lambda db: [_achievement(db, request.user_id, kind) for kind in kinds[:size]]
            ),
            next_page_token=page_token(kinds[size - 1].name) if len(kinds) > size else "",
        )


def _achievement(db: Reader, user_id: str, kind: GenesisType) -> EligibleAchievement:
    progress, minted = genesis_rows.load_feat(db, user_id, kind.feat), genesis_rows.was_minted(db, user_id, kind)
    return EligibleAchievement(
        genesis_type=kind.name,
        display_name=kind.display_name,
        requirement=kind.requirement,
        rarity=Rarity.Name(kind.rarity_at(progress)),
        progress=min(progress, kind.goal),
        goal=kind.goal,
        eligible=progress >= kind.goal and not minted,
        minted=minted,
    )
