"""Genesis NFTs and the feats they are for, in SQL."""

from services.nft.model import Rarity
from services.nft.model_genesis import Feat, GenesisType
from services.runtime.transaction import Reader, Tx


def raise_feat(tx: Tx, user_id: str, feat: Feat, progress: int) -> None:
    """Notes how far a user has come, unless it was further before. The order does not matter."""
    tx.execute(
        "INSERT INTO feat VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET progress = excluded.progress"
        " WHERE progress < excluded.progress",
        user_id,
        feat,
        progress,
    )


def count_feat(tx: Tx, user_id: str, feat: Feat) -> None:
    """Counts one more."""
    tx.execute("INSERT INTO feat VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET progress = progress + 1", user_id, feat)


def load_feat(db: Reader, user_id: str, feat: Feat) -> int:
    """Returns how far a user has come."""
    return int(db.value("SELECT progress FROM feat WHERE user_id = ? AND feat = ?", user_id, feat) or 0)


def was_minted(db: Reader, user_id: str, kind: GenesisType) -> bool:
    """Returns whether a user has minted a type, even if it was sold since."""
    sql = "SELECT 1 FROM genesis WHERE user_id = ? AND genesis_type = ?"
    return db.one(sql, user_id, kind.name) is not None


def insert_genesis(tx: Tx, user_id: str, kind: GenesisType, rarity: Rarity) -> str:
    """Makes a Genesis NFT and returns its id."""
    nft_id = tx.new_id()
    tx.execute("INSERT INTO nft VALUES (?, ?, ?, ?, 0, ?)", nft_id, user_id, kind.display_name, int(rarity), tx.now_ms)
    tx.execute("INSERT INTO genesis VALUES (?, ?, ?)", user_id, kind.name, nft_id)
    return nft_id
