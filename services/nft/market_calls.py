"""The rpcs of the marketplace."""

from astra.nft.v1 import nft_service_pb2 as pb
from astra.nft.v1.events_pb2 import NftListed

from services.nft import market_rows as rows
from services.nft import sales
from services.nft import store as sql
from services.nft.model_market import SHARDS, ListingState, PurchaseState, check_price
from services.runtime.call import Call
from services.runtime.errors import FailedPrecondition
from services.runtime.money import parse_money
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.sagas import Sagas
from services.runtime.store import Store
from services.runtime.transaction import Tx

REFUSALS = {"INSUFFICIENT_SHARDS": "your shards do not cover the price; earn some and buy it then"}


class MarketCalls:
    """Serves ListForSale, Unlist, BuyNft and ListListings."""

    def __init__(self, store: Store, sagas: Sagas) -> None:
        self._store = store
        self._sagas = sagas

    async def list_for_sale(self, request: pb.ListForSaleRequest, call: Call) -> pb.ListForSaleResponse:
        price = check_price(parse_money(request.price, field="price", currency=SHARDS))

        def work(tx: Tx) -> pb.ListForSaleResponse:
            nft = sql.load_nft(tx, request.nft_id)
            _check_owner(nft["owner_user_id"], request.user_id)
            if nft["listing_id"] and not sales.end_if_over(tx, nft["listing_id"]):
                raise FailedPrecondition(
                    "the NFT is for sale already; unlist it first",
                    reason="ALREADY_LISTED",
                    listing_id=nft["listing_id"],
                )
            listing_id = rows.insert_listing(tx, nft_id=request.nft_id, seller_user_id=request.user_id, price=price)
            listing = rows.listing_message(rows.load_listing(tx, listing_id))
            tx.record(
                NftListed(
                    listing_id=listing_id,
                    nft_id=request.nft_id,
                    seller_user_id=request.user_id,
                    price=listing.price,
                )
            )
            return pb.ListForSaleResponse(listing=listing)

        return await call.write(self._store, work)

    async def unlist(self, request: pb.UnlistRequest, call: Call) -> pb.UnlistResponse:
        def work(tx: Tx) -> pb.UnlistResponse:
            row = rows.load_listing(tx, request.listing_id)
            _check_owner(row["seller_user_id"], request.user_id)
            if row["state"] != ListingState.ACTIVE:
                raise sales.not_active(request.listing_id)
            rows.set_listing_state(tx, request.listing_id, ListingState.UNLISTED)
            return pb.UnlistResponse(listing=rows.listing_message(rows.load_listing(tx, request.listing_id)))

        return await call.write(self._store, work)

    async def buy_nft(self, request: pb.BuyNftRequest, call: Call) -> pb.BuyNftResponse:
        begun: list[str] = []

        def work(tx: Tx) -> pb.BuyNftResponse:
            purchase_id = sales.reserve(tx, request.listing_id, request.user_id)
            begun.append(purchase_id)
            return pb.BuyNftResponse(purchase=rows.purchase_message(rows.load_purchase(tx, purchase_id)))

        purchase_id = (await call.write(self._store, work)).purchase.purchase_id
        if begun:
            await self._sagas.carry_on(sales.PURCHASE, purchase_id)
        else:
            await self._sagas.outcome(sales.PURCHASE, purchase_id)
        row = await self._store.read(lambda db: rows.load_purchase(db, purchase_id))
        if row["state"] == PurchaseState.FAILED:
            reason = row["reason"] or "PURCHASE_REFUSED"
            raise FailedPrecondition(
                REFUSALS.get(reason, "the shards could not be debited"), reason=reason, purchase_id=purchase_id
            )
        return pb.BuyNftResponse(purchase=rows.purchase_message(row))

    async def list_listings(self, request: pb.ListListingsRequest, call: Call) -> pb.ListListingsResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, str)
        max_price = (
            int(parse_money(request.max_price, field="max_price", currency=SHARDS))
            if request.HasField("max_price")
            else None
        )
        now_ms = self._store.clock()
        found = await self._store.read(
            lambda db: rows.list_active(
                db,
                now_ms=now_ms,
                seller=request.seller_user_id,
                rarity=request.rarity,
                max_price=max_price,
                before=key[0] if key else None,
                limit=size + 1,
            )
        )
        return pb.ListListingsResponse(
            listings=map(rows.listing_message, found[:size]),
            next_page_token=page_token(found[size - 1]["listing_id"]) if len(found) > size else "",
        )


def _check_owner(owner_user_id: str, user_id: str) -> None:
    if owner_user_id != user_id:
        raise FailedPrecondition("it belongs to somebody else", reason="NOT_OWNER")
