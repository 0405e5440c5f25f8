"""Ways in which a run could have gone wrong; the comparison must see each."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from typing import Any

from services.local import LocalMesh
from tests.story.play import UNRELATED
from tests.system.findings import Evidence


def spoilings(evidence: Evidence) -> Iterator[tuple[str, Evidence]]:
    """Yields evidence of runs in which something got lost, was wrong, or came twice."""
    journal, world, seen = evidence.journal, evidence.world, evidence.seen
    trade_id, trade = next(iter(journal.trades.items()))
    lost = {key: value for key, value in journal.trades.items() if key != trade_id}
    yield "a trade nobody asked for", replace(evidence, journal=replace(journal, trades=lost))
    dearer = {**trade, "fee": {"currencyCode": "USD", "amount": "99.00"}}
    yield "a wrong fee", replace(evidence, journal=replace(journal, trades={**journal.trades, trade_id: dearer}))
    awards = journal.awards + Counter({trade["userId"]: 1})
    yield "XP that got lost", replace(evidence, journal=replace(journal, awards=awards))
    paid = dict(list(journal.payments.items())[1:])
    yield "a payment nobody asked for", replace(evidence, journal=replace(journal, payments=paid))
    last = max(number for number, entry in enumerate(seen) if entry.stream not in UNRELATED)
    yield "an event that got lost", replace(evidence, seen=[*seen[:last], *seen[last + 1 :]])
    yield "an event that came twice", replace(evidence, seen=[*seen, seen[last]])
    yield "an entry with one side", replace(evidence, world=replace(world, entries=world.entries[1:]))
    yield "a hole in the audit trail", replace(evidence, world=replace(world, audited=world.audited[1:]))
    broken = {**world.audit, "intact": False}
    yield "a broken audit trail", replace(evidence, world=replace(world, audit=broken))
    yield "a line missing in the feed", replace(evidence, world=replace(world, feed=world.feed[1:]))
    for what, spoil in OF_USERS:
        users = {user_id: deepcopy(dict(of_user)) for user_id, of_user in world.users.items()}
        for of_user in users.values():
            if spoil(of_user):
                yield what, replace(evidence, world=replace(world, users=users))
                break


def _double_the_first(name: str) -> Callable[[dict[str, Any]], bool]:
    def spoil(of_user: dict[str, Any]) -> bool:
        of_user[name][:0] = of_user[name][:1]
        return bool(of_user[name])

    return spoil


def _lower_the_tier(of_user: dict[str, Any]) -> bool:
    if of_user["profile"]["verificationTier"] == "VERIFICATION_TIER_UNVERIFIED":
        return False
    of_user["profile"]["verificationTier"] = "VERIFICATION_TIER_UNVERIFIED"
    return True


def _count_pnl_twice(of_user: dict[str, Any]) -> bool:
    pnl = of_user["portfolio"]["realizedPnl"]
    pnl["amount"] = f"{2 * Decimal(pnl['amount'])}"
    return bool(Decimal(pnl["amount"]))


OF_USERS: Sequence[tuple[str, Callable[[dict[str, Any]], bool]]] = (
    ("a notification told twice", _double_the_first("notifications")),
    ("an NFT owned twice", _double_the_first("nfts")),
    ("a tier that fell", _lower_the_tier),
    ("PnL counted twice", _count_pnl_twice),
)

PLANTED = ("XP", "shards", "account", "notifications to", "revenue booked")
"""What differences begin with after `double_effects`."""


def double_effects(running: LocalMesh) -> None:
    """Repeats effects in the databases of the running services, as reactions without an inbox would."""
    with closing(_open(running, "gamification")) as database, database:
        database.execute(
            "UPDATE progression SET total_xp = total_xp + 10 WHERE user_id IN (SELECT user_id FROM unlocked)"
        )
        credited = database.execute("SELECT transfer_id FROM shard_entry WHERE amount > 0 AND account NOT LIKE '%:%'")
        (transfer,) = credited.fetchone()
        database.execute("INSERT INTO shard_transfer VALUES ('planted', 'planted', 0)")
        entries = database.execute("SELECT account, amount FROM shard_entry WHERE transfer_id = ?", (transfer,))
        for account, amount in entries.fetchall():
            database.execute("INSERT INTO shard_entry VALUES ('planted', ?, ?)", (account, amount))
            database.execute("UPDATE shard_account SET balance = balance + ? WHERE account = ?", (amount, account))
    with closing(_open(running, "user")) as database, database:
        names = "user_id, kind, title, text, event_type, subject, correlation_id, create_ms"
        database.execute(
            f"INSERT INTO notification (notification_id, {names})"
            f" SELECT 'planted', {names} FROM notification ORDER BY number LIMIT 1"
        )
    with closing(_open(running, "financial")) as database, database:
        for purpose in ("deposit", "trading_fees"):
            found = database.execute("SELECT transfer_id, mode FROM transfer WHERE purpose = ?", (purpose,))
            transfer, mode = found.fetchone()
            planted = f"planted-{purpose}"
            database.execute("INSERT INTO transfer VALUES (?, ?, ?, 0)", (planted, purpose, mode))
            entries = database.execute(
                "SELECT owner, currency, change_minor FROM entry WHERE transfer_id = ?", (transfer,)
            )
            for owner, currency, change in entries.fetchall():
                database.execute("INSERT INTO entry VALUES (?, ?, ?, ?)", (planted, owner, currency, change))
                database.execute(
                    "UPDATE account SET balance_minor = balance_minor + ? WHERE (owner, currency) = (?, ?)",
                    (change, owner, currency),
                )


def _open(running: LocalMesh, service: str) -> sqlite3.Connection:
    return sqlite3.connect(running.mesh.database(service), timeout=10)
