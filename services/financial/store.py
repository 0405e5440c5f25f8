"""The ledger and revenue in SQL."""

from decimal import Decimal
from sqlite3 import Row

from astra.financial.v1.revenue_pb2 import Revenue
from astra.financial.v1.revenue_pb2 import RevenueMode as RevenueModeProto
from astra.financial.v1.revenue_pb2 import RevenueStream as RevenueStreamProto

from services.financial.model import Earning, Transfer, changed_balance
from services.runtime.money import from_minor, to_minor, to_money
from services.runtime.transaction import Reader, Tx

FIRST_MS, LAST_MS = -(2**63), 2**63 - 1


def book(tx: Tx, transfer: Transfer) -> str:
    """Moves money between two accounts and returns the transfer's id. The one place where balances change.

    Raises `FailedPrecondition` if a user would be below zero.
    """
    transfer_id = tx.new_id()
    mode, currency = int(transfer.mode), transfer.currency
    tx.execute("INSERT INTO transfer VALUES (?, ?, ?, ?)", transfer_id, transfer.purpose, mode, tx.now_ms)
    for owner, change in transfer.entries:
        after = changed_balance(owner, load_balance(tx, owner, currency), change, currency)
        tx.execute("INSERT OR REPLACE INTO account VALUES (?, ?, ?)", owner, currency, to_minor(after, currency))
        tx.execute("INSERT INTO entry VALUES (?, ?, ?, ?)", transfer_id, owner, currency, to_minor(change, currency))
    return transfer_id


def load_balance(db: Reader, owner: str, currency: str) -> Decimal:
    """Returns a balance; 0 of an account that was never used."""
    minor = db.value("SELECT balance_minor FROM account WHERE owner = ? AND currency = ?", owner, currency)
    return from_minor(minor or 0, currency)


def load_balances(db: Reader, owner: str) -> list[tuple[str, Decimal]]:
    """Returns an owner's balances by currency code, sorted; one for each currency that was ever used."""
    rows = db.all("SELECT currency, balance_minor FROM account WHERE owner = ? ORDER BY currency", owner)
    return [(row["currency"], from_minor(row["balance_minor"], row["currency"])) for row in rows]


def was_earned(db: Reader, earning: Earning) -> bool:
    """Returns whether the trade or listing has earned in this stream already."""
    sql = "SELECT 1 FROM revenue WHERE stream = ? AND source_id = ?"
    return db.one(sql, int(earning.stream), earning.source_id) is not None


def insert_revenue(tx: Tx, revenue_id: str, earning: Earning, *, earn_ms: int) -> None:
    tx.execute(
        "INSERT INTO revenue VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        revenue_id,
        int(earning.stream),
        int(earning.mode),
        earning.currency,
        to_minor(earning.amount, earning.currency),
        earning.user_id,
        earning.source_id,
        earn_ms,
    )


def sum_revenue(db: Reader, *, start_ms: int | None, end_ms: int | None) -> list[Revenue]:
    """Returns what was earned in [start, end), a row per stream, mode and currency; None leaves a side open."""
    rows = db.all(
        "SELECT stream, mode, currency, sum(amount_minor) AS minor, count(*) AS count FROM revenue"
        " WHERE earn_ms >= ? AND earn_ms < ? GROUP BY stream, mode, currency ORDER BY stream, mode, currency",
        FIRST_MS if start_ms is None else start_ms,
        LAST_MS if end_ms is None else end_ms,
    )
    return [
        Revenue(
            stream=RevenueStreamProto.Name(row["stream"]),
            mode=RevenueModeProto.Name(row["mode"]),
            amount=to_money(from_minor(row["minor"], row["currency"]), row["currency"]),
            count=row["count"],
        )
        for row in rows
    ]


def verify_kyc(tx: Tx, user_id: str, *, expire_ms: int) -> None:
    """Notes that a user's identity was verified now."""
    tx.execute("INSERT OR REPLACE INTO kyc VALUES (?, ?, ?)", user_id, tx.now_ms, expire_ms)


def load_kyc(db: Reader, user_id: str) -> Row | None:
    """Returns when a user's identity was last verified and until when that counts."""
    return db.one("SELECT * FROM kyc WHERE user_id = ?", user_id)
