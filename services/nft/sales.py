"""What becomes of an offer: bought in steps that survive a crash, settled once, or over after 30 days.

To buy is to reserve, to debit the buyer's shards, and to transfer the NFT. The debit is told by the purchase's id, so
asking for it again debits nobody twice; if it is refused, the reservation is released.
"""

from decimal import Decimal

from astra.nft.v1.events_pb2 import MarketplaceSale, NftListed, NftSold

from services.nft import market_rows as rows
from services.nft.model_market import SHARDS, ListingState, PurchaseState, split
from services.nft.wallets import Refused, Wallets
from services.runtime import sagas
from services.runtime.errors import FailedPrecondition
from services.runtime.money import to_money
from services.runtime.store import Store
from services.runtime.timers import set_timer
from services.runtime.transaction import Tx

PURCHASE, SETTLEMENT = "purchase", "settlement"
EXPIRY_TIMER = "listing_expiry"


class Sales:
    """Carries purchases and settlements on."""

    def __init__(self, store: Store, wallets: Wallets) -> None:
        self._store = store
        self._wallets = wallets

    async def buy(self, purchase_id: str) -> None:
        """Debits the buyer and transfers the NFT, or releases it. Raises `Unavailable` while the debit is not known."""
        row = await self._store.read(lambda db: rows.load_purchase(db, purchase_id))
        try:
            await self._wallets.debit(
                row["buyer_user_id"], row["price"], request_id=f"nft-buy-{purchase_id}", purpose="nft purchase"
            )
        except Refused as refused:
            reason = refused.reason
            await self._store.write(lambda tx: _release(tx, purchase_id, reason))
        else:
            await self._store.write(lambda tx: _transfer(tx, purchase_id))

    async def settle(self, listing_id: str) -> None:
        """Credits the seller and the creator of a sold NFT. Raises `Unavailable` until both are credited."""
        row = await self._store.read(lambda db: rows.load_listing(db, listing_id))
        parts = split(row["price"], has_creator=bool(row["creator_user_id"]))
        for user_id, shards, what in (
            (row["seller_user_id"], parts.proceeds, "sale"),
            (row["creator_user_id"], parts.creator_fee, "creator"),
        ):
            if shards:
                await self._wallets.credit(
                    user_id, shards, request_id=f"nft-{what}-{listing_id}", purpose=f"nft {what}"
                )
        await self._store.write(lambda tx: _settle(tx, listing_id))


def reserve(tx: Tx, listing_id: str, buyer_user_id: str) -> str:
    """Reserves an offer for a buyer and returns the purchase's id; who calls carries the saga on.

    Raises `NotFound`, or `FailedPrecondition` for an offer that is over, reserved, or the buyer's own.
    """
    row = rows.load_listing(tx, listing_id)
    if row["state"] != ListingState.ACTIVE or row["expire_ms"] <= tx.now_ms:
        raise not_active(listing_id)
    if row["seller_user_id"] == buyer_user_id:
        raise FailedPrecondition("the listing is your own; unlist it instead", reason="OWN_LISTING")
    rows.set_listing_state(tx, listing_id, ListingState.RESERVED)
    purchase_id = rows.insert_purchase(tx, listing_id, buyer_user_id)
    sagas.begin(tx, PURCHASE, purchase_id, leased=True)
    return purchase_id


def not_active(listing_id: str) -> FailedPrecondition:
    return FailedPrecondition(
        "the listing is over, or somebody is buying it; look at ListListings again",
        reason="LISTING_NOT_ACTIVE",
        listing_id=listing_id,
    )


def set_expiry(tx: Tx, event: NftListed) -> None:
    """Sees to it that an offer ends after its 30 days."""
    set_timer(tx, EXPIRY_TIMER, event.listing_id, rows.load_listing(tx, event.listing_id)["expire_ms"])


def expire(tx: Tx, listing_id: str) -> None:
    """Ends an offer whose days are over. One that is being bought ends when its purchase fails."""
    if rows.load_listing(tx, listing_id)["state"] == ListingState.ACTIVE:
        rows.set_listing_state(tx, listing_id, ListingState.EXPIRED)


def end_if_over(tx: Tx, listing_id: str) -> bool:
    """Ends an offer whose days are over though its timer is late. Returns whether it has."""
    row = rows.load_listing(tx, listing_id)
    over = row["state"] == ListingState.ACTIVE and row["expire_ms"] <= tx.now_ms
    if over:
        expire(tx, listing_id)
    return bool(over)


def begin_settlement(tx: Tx, event: NftSold) -> None:
    """Begins to credit the seller and the creator, once a sale."""
    if rows.load_listing(tx, event.listing_id)["settle_ms"] is None:
        sagas.begin(tx, SETTLEMENT, event.listing_id, leased=False)


def _transfer(tx: Tx, purchase_id: str) -> None:
    if not sagas.end(tx, PURCHASE, purchase_id):
        return
    purchase = rows.load_purchase(tx, purchase_id)
    listing = rows.load_listing(tx, purchase["listing_id"])
    rows.set_purchase_state(tx, purchase_id, PurchaseState.COMPLETED)
    rows.set_listing_state(tx, listing["listing_id"], ListingState.SOLD)
    rows.set_owner(tx, listing["nft_id"], purchase["buyer_user_id"])
    tx.record(
        NftSold(
            listing_id=listing["listing_id"],
            nft_id=listing["nft_id"],
            seller_user_id=listing["seller_user_id"],
            buyer_user_id=purchase["buyer_user_id"],
            creator_user_id=listing["creator_user_id"],
            price=to_money(Decimal(listing["price"]), SHARDS),
        )
    )


def _release(tx: Tx, purchase_id: str, reason: str) -> None:
    if not sagas.end(tx, PURCHASE, purchase_id):
        return
    listing = rows.load_listing(tx, rows.load_purchase(tx, purchase_id)["listing_id"])
    rows.set_purchase_state(tx, purchase_id, PurchaseState.FAILED, reason)
    over = listing["expire_ms"] <= tx.now_ms
    rows.set_listing_state(tx, listing["listing_id"], ListingState.EXPIRED if over else ListingState.ACTIVE)


def _settle(tx: Tx, listing_id: str) -> None:
    if not sagas.end(tx, SETTLEMENT, listing_id):
        return
    row = rows.load_listing(tx, listing_id)
    parts = split(row["price"], has_creator=bool(row["creator_user_id"]))
    rows.note_settled(tx, listing_id)
    tx.record(
        MarketplaceSale(
            listing_id=listing_id,
            nft_id=row["nft_id"],
            seller_user_id=row["seller_user_id"],
            proceeds=to_money(Decimal(parts.proceeds), SHARDS),
            platform_fee=to_money(Decimal(parts.platform_fee), SHARDS),
            creator_fee=to_money(Decimal(parts.creator_fee), SHARDS),
        )
    )
