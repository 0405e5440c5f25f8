"""NftService: proto in, model call, proto out."""

from astra.nft.v1 import nft_service_pb2 as pb

from services.nft import store as sql
from services.runtime.call import Call
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store


class NftApi:
    """Serves the rpcs of nft."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_nft(self, request: pb.GetNftRequest, call: Call) -> pb.GetNftResponse:
        row = await self._store.read(lambda db: sql.load_nft(db, request.nft_id))
        return pb.GetNftResponse(nft=sql.nft_message(row))

    async def list_user_nfts(self, request: pb.ListUserNftsRequest, call: Call) -> pb.ListUserNftsResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, str)
        rows = await self._store.read(
            lambda db: sql.list_nfts(db, request.user_id, before=key[0] if key else None, limit=size + 1)
        )
        return pb.ListUserNftsResponse(
            nfts=map(sql.nft_message, rows[:size]),
            next_page_token=page_token(rows[size - 1]["nft_id"]) if len(rows) > size else "",
        )
