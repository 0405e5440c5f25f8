"""The shards ledger, by double entry: a transfer takes from one account what it gives to another, once."""

from decimal import Decimal

from astra.gamification.v1.shards_pb2 import ShardAccount

from services.runtime.errors import AlreadyExists, FailedPrecondition
from services.runtime.money import to_money
from services.runtime.transaction import Reader, Tx

SHARDS = "SHARDS"


def transfer(tx: Tx, *, transfer_id: str, source: str, target: str, amount: int, purpose: str) -> None:
    """Moves an amount > 0 between two accounts, unless the transfer was made before.

    Raises `FailedPrecondition` `INSUFFICIENT_SHARDS` when a user has fewer, and `AlreadyExists` `REQUEST_ID_REUSED`
    when the transfer made before was another one.
    """
    rows = tx.all("SELECT account, amount FROM shard_entry WHERE transfer_id = ?", transfer_id)
    made = {row["account"]: row["amount"] for row in rows}
    if made:
        if made != {source: -amount, target: amount}:
            request_id = transfer_id.rpartition("/")[2]
            raise AlreadyExists(
                f"request_id {request_id!r} was used for another transfer; choose a new one",
                reason="REQUEST_ID_REUSED",
                request_id=request_id,
            )
        return
    balance = balance_of(tx, source)
    if ":" not in source and balance < amount:
        raise FailedPrecondition(
            f"user {source} has {balance} shards and needs {amount}",
            reason="INSUFFICIENT_SHARDS",
            balance=str(balance),
            needed=str(amount),
        )
    tx.execute("INSERT INTO shard_transfer VALUES (?, ?, ?)", transfer_id, purpose, tx.now_ms)
    for account, change in ((source, -amount), (target, amount)):
        tx.execute("INSERT INTO shard_entry VALUES (?, ?, ?)", transfer_id, account, change)
        # Two statements: a CHECK refuses a negative new row before a conflict makes it an update.
        tx.execute("INSERT OR IGNORE INTO shard_account VALUES (?, 0)", account)
        tx.execute("UPDATE shard_account SET balance = balance + ? WHERE account = ?", change, account)


def balance_of(db: Reader, account: str) -> int:
    """Returns the shards of an account; 0 for one that never had any."""
    return db.value("SELECT balance FROM shard_account WHERE account = ?", account) or 0


def account_message(db: Reader, user_id: str) -> ShardAccount:
    """Returns a user's account as callers see it."""
    return ShardAccount(user_id=user_id, balance=to_money(Decimal(balance_of(db, user_id)), SHARDS))
