"""NFTs and rewards in SQL."""

from sqlite3 import Row

from astra.nft.v1.nft_pb2 import Nft
from astra.nft.v1.nft_pb2 import Rarity as RarityProto
from astra.nft.v1.nft_pb2 import RewardKind as RewardKindProto

from services.nft.model import SCORES, Rarity, Reward
from services.runtime.errors import NotFound
from services.runtime.transaction import Reader, Tx

ABOVE_ALL_IDS = "~"
# With its Genesis type, the user whose feat it was granted for, and the listing it is offered or being bought with.
_NFT = (
    "SELECT nft.*, genesis_type, reward.user_id AS creator_user_id, listing_id"
    " FROM nft LEFT JOIN genesis USING (nft_id) LEFT JOIN reward USING (nft_id)"
    " LEFT JOIN listing ON listing.nft_id = nft.nft_id AND listing.state IN (1, 2)"
)


def was_granted(db: Reader, user_id: str, reward: Reward) -> bool:
    """Returns whether the user has had this reward."""
    sql = "SELECT 1 FROM reward WHERE user_id = ? AND kind = ? AND key = ?"
    return db.one(sql, user_id, int(reward.kind), reward.key) is not None


def insert_reward(tx: Tx, user_id: str, reward: Reward) -> str:
    """Makes the NFT of a reward and returns its id."""
    nft_id, kind = tx.new_id(), int(reward.kind)
    tx.execute(
        "INSERT INTO nft VALUES (?, ?, ?, ?, ?, ?)",
        nft_id,
        user_id,
        reward.display_name,
        int(reward.rarity),
        kind,
        tx.now_ms,
    )
    tx.execute("INSERT INTO reward VALUES (?, ?, ?, ?)", user_id, kind, reward.key, nft_id)
    return nft_id


def load_nft(db: Reader, nft_id: str) -> Row:
    """Returns an NFT. Raises `NotFound` if there is none."""
    row = db.one(f"{_NFT} WHERE nft.nft_id = ?", nft_id)
    if row is None:
        raise NotFound(f"there is no NFT {nft_id}", reason="NFT_NOT_FOUND", nft_id=nft_id)
    return row


def list_nfts(
    db: Reader, user_id: str, *, rarity: int, reward_kind: int, listed_only: bool, before: str | None, limit: int
) -> list[Row]:
    """Returns a user's NFTs newest first (ids are time-ordered), after the one with the id `before`.

    Only those of a rarity and kind of reward, unless 0, and only those that are for sale, if asked for.
    """
    return db.all(
        f"{_NFT} WHERE owner_user_id = ? AND nft.nft_id < ? AND ? IN (0, rarity) AND ? IN (0, reward_kind)"
        " AND (? = 0 OR listing_id IS NOT NULL) ORDER BY nft.nft_id DESC LIMIT ?",
        user_id,
        ABOVE_ALL_IDS if before is None else before,
        rarity,
        reward_kind,
        listed_only,
        limit,
    )


def nft_message(row: Row) -> Nft:
    """Returns an NFT as callers see it."""
    nft = Nft(
        nft_id=row["nft_id"],
        owner_user_id=row["owner_user_id"],
        display_name=row["display_name"],
        rarity=RarityProto.Name(row["rarity"]),
        rarity_score=str(SCORES[Rarity(row["rarity"])]),
        reward_kind=RewardKindProto.Name(row["reward_kind"]),
        genesis_type=row["genesis_type"] or "",
        creator_user_id=row["creator_user_id"] or "",
        listing_id=row["listing_id"] or "",
    )
    nft.create_time.FromMilliseconds(row["create_ms"])
    return nft
