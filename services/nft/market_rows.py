"""Listings and purchases in SQL."""

from sqlite3 import Row

from astra.nft.v1 import listing_pb2 as pb
from astra.nft.v1.nft_pb2 import Rarity as RarityProto

from services.nft.model_market import LISTING_MS, SHARDS, ListingState, PurchaseState
from services.nft.store import ABOVE_ALL_IDS
from services.runtime.errors import NotFound
from services.runtime.money import from_minor, to_money
from services.runtime.transaction import Reader, Tx

# The creator of a reward is the user whose feat it was granted for.
_LISTING = (
    "SELECT listing.*, nft.owner_user_id, nft.display_name, nft.rarity, coalesce(reward.user_id, '') AS creator_user_id"
    " FROM listing JOIN nft USING (nft_id) LEFT JOIN reward USING (nft_id)"
)


def insert_listing(tx: Tx, *, nft_id: str, seller_user_id: str, price: int) -> str:
    """Adds an active listing and returns its id."""
    listing_id = tx.new_id()
    tx.execute(
        "INSERT INTO listing VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
        listing_id,
        nft_id,
        seller_user_id,
        price,
        int(ListingState.ACTIVE),
        tx.now_ms,
        tx.now_ms + LISTING_MS,
    )
    return listing_id


def load_listing(db: Reader, listing_id: str) -> Row:
    """Returns a listing with its NFT. Raises `NotFound` if there is none."""
    row = db.one(f"{_LISTING} WHERE listing_id = ?", listing_id)
    if row is None:
        raise NotFound(f"there is no listing {listing_id}", reason="LISTING_NOT_FOUND", listing_id=listing_id)
    return row


def set_listing_state(tx: Tx, listing_id: str, state: ListingState) -> None:
    tx.execute("UPDATE listing SET state = ? WHERE listing_id = ?", int(state), listing_id)


def note_settled(tx: Tx, listing_id: str) -> None:
    """Notes that the seller and the fees were credited."""
    tx.execute("UPDATE listing SET settle_ms = ? WHERE listing_id = ?", tx.now_ms, listing_id)


def set_owner(tx: Tx, nft_id: str, user_id: str) -> None:
    tx.execute("UPDATE nft SET owner_user_id = ? WHERE nft_id = ?", user_id, nft_id)


def list_active(
    db: Reader, *, now_ms: int, seller: str, rarity: int, max_price: int | None, before: str | None, limit: int
) -> list[Row]:
    """Returns what is for sale, newest first (ids are time-ordered), after `before`; empty filters let all through."""
    return db.all(
        f"{_LISTING} WHERE listing.state = ? AND listing_id < ? AND expire_ms > ?"
        " AND ? IN ('', seller_user_id) AND ? IN (0, nft.rarity) AND (? IS NULL OR price <= ?)"
        " ORDER BY listing_id DESC LIMIT ?",
        int(ListingState.ACTIVE),
        ABOVE_ALL_IDS if before is None else before,
        now_ms,
        seller,
        rarity,
        max_price,
        max_price,
        limit,
    )


def insert_purchase(tx: Tx, listing_id: str, buyer_user_id: str) -> str:
    """Adds a pending purchase and returns its id."""
    purchase_id = tx.new_id()
    tx.execute(
        "INSERT INTO purchase VALUES (?, ?, ?, ?, '')",
        purchase_id,
        listing_id,
        buyer_user_id,
        int(PurchaseState.PENDING),
    )
    return purchase_id


def load_purchase(db: Reader, purchase_id: str) -> Row:
    """Returns a purchase with its listing's NFT, seller and price."""
    row = db.one(
        "SELECT purchase.*, nft_id, seller_user_id, price FROM purchase JOIN listing USING (listing_id)"
        " WHERE purchase_id = ?",
        purchase_id,
    )
    assert row is not None  # noqa: S101 - purchases are never removed
    return row


def set_purchase_state(tx: Tx, purchase_id: str, state: PurchaseState, reason: str = "") -> None:
    tx.execute("UPDATE purchase SET state = ?, reason = ? WHERE purchase_id = ?", int(state), reason, purchase_id)


def listing_message(row: Row) -> pb.Listing:
    """Returns a listing as callers see it."""
    listing = pb.Listing(
        listing_id=row["listing_id"],
        nft_id=row["nft_id"],
        seller_user_id=row["seller_user_id"],
        price=to_money(from_minor(row["price"], SHARDS), SHARDS),
        state=pb.ListingState.Name(row["state"]),
        display_name=row["display_name"],
        rarity=RarityProto.Name(row["rarity"]),
    )
    listing.create_time.FromMilliseconds(row["create_ms"])
    listing.expire_time.FromMilliseconds(row["expire_ms"])
    return listing


def purchase_message(row: Row) -> pb.Purchase:
    """Returns a purchase as callers see it."""
    return pb.Purchase(
        purchase_id=row["purchase_id"],
        listing_id=row["listing_id"],
        nft_id=row["nft_id"],
        buyer_user_id=row["buyer_user_id"],
        price=to_money(from_minor(row["price"], SHARDS), SHARDS),
        state=pb.PurchaseState.Name(row["state"]),
    )
