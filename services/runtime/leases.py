"""Leases: who of several processes does what only one may do at a time, until it stops renewing."""

from services.runtime.transaction import Reader, Tx


def take(tx: Tx, name: str, holder: str, *, ms: int) -> bool:
    """Takes or renews a lease for so long. Returns False while another holds it."""
    taken = tx.execute(
        "INSERT INTO lease VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET holder = ?2, expire_ms = ?3"
        " WHERE holder = ?2 OR expire_ms <= ?4",
        name,
        holder,
        tx.now_ms + ms,
        tx.now_ms,
    )
    return taken.rowcount == 1


def give_back(tx: Tx, name: str, holder: str) -> None:
    """Ends a lease early, if it is still this holder's."""
    tx.execute("DELETE FROM lease WHERE name = ? AND holder = ?", name, holder)


def holds(db: Reader, name: str, holder: str) -> bool:
    """Tells whether a lease is this holder's. It may have expired: nobody else has taken it since."""
    return db.one("SELECT 1 FROM lease WHERE name = ? AND holder = ?", name, holder) is not None
