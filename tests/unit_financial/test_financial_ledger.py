"""The ledger: transfers, balances, and that everything sums to zero."""

import random
import sqlite3
from decimal import Decimal
from functools import partial
from importlib.resources import files

import pytest

from services import financial
from services.financial.model import Held, RevenueMode, RevenueStream, Transfer, changed_balance, revenue_owner
from services.financial.store import book, load_balances
from services.runtime.errors import FailedPrecondition
from services.runtime.money import PLACES, round_money
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.conftest import OpenStore


def transfer(source: str, target: str, amount: str, currency: str = "USD") -> Transfer:
    return Transfer(
        source=source,
        target=target,
        amount=Decimal(amount),
        currency=currency,
        mode=RevenueMode.LIVE,
        purpose="test",
    )


@pytest.fixture
async def ledger(open_store: OpenStore) -> Store:
    return open_store("financial", schema=files(financial).joinpath("schema.sql").read_text())


@pytest.mark.parametrize(
    ("source", "target", "amount", "currency"),
    [
        ("a", "b", "0", "USD"),
        ("a", "b", "-1", "USD"),
        ("a", "b", "0.001", "USD"),
        ("a", "b", "0.5", "SHARDS"),
        ("a", "a", "1", "USD"),
        ("a", "b", "1", "XYZ"),
    ],
)
def test_a_transfer_that_is_none_cannot_be_made(source: str, target: str, amount: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"transfer|currency"):
        transfer(source, target, amount, currency)


def test_the_entries_of_a_transfer_sum_to_zero() -> None:
    assert transfer("a", "b", "12.34").entries == (("a", Decimal("-12.34")), ("b", Decimal("12.34")))


@pytest.mark.parametrize(
    ("owner", "balance", "change", "after"),
    [("u", "10", "-10", "0"), ("u", "10", "-10.01", None), (Held.GAME, "0", "-5", "-5"), ("u", "0", "5", "5")],
)
def test_a_user_never_falls_below_zero_but_a_clearing_account_may(
    owner: str, balance: str, change: str, after: str | None
) -> None:
    if after is not None:
        assert changed_balance(owner, Decimal(balance), Decimal(change), "USD") == Decimal(after)
        return
    with pytest.raises(FailedPrecondition) as caught:
        changed_balance(owner, Decimal(balance), Decimal(change), "USD")
    assert caught.value.reason == "INSUFFICIENT_FUNDS"


def test_each_stream_and_mode_has_an_account_that_no_user_can_name() -> None:
    owners = {revenue_owner(stream, mode) for stream in RevenueStream for mode in RevenueMode}
    assert len(owners) == len(RevenueStream) * len(RevenueMode)
    assert all(":" in owner for owner in (*owners, *Held))


async def test_a_refused_transfer_leaves_nothing(ledger: Store) -> None:
    with pytest.raises(FailedPrecondition):
        await ledger.write(lambda tx: book(tx, transfer("alice", "bob", "1")))
    for table in ("transfer", "entry", "account"):
        assert await ledger.read(lambda db, table=table: db.value(f"SELECT count(*) FROM {table}")) == 0  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(5))
async def test_any_sequence_of_transfers_sums_to_zero_and_balances_are_their_entries(ledger: Store, seed: int) -> None:
    chance = random.Random(seed)
    owners = ["alice", "bob", "carol", *Held]
    refused = 0
    for _ in range(200):
        source, target = chance.sample(owners, 2)
        currency = chance.choice(["USD", "SHARDS", "BTC"])
        amount = round_money(Decimal(chance.randint(1, 10**6)).scaleb(-PLACES[currency]), currency)
        try:
            await ledger.write(partial(book, transfer=transfer(source, target, str(amount), currency)))
        except FailedPrecondition:
            refused += 1
    assert 0 < refused < 200
    sums = await ledger.read(lambda db: db.all("SELECT transfer_id, sum(change_minor), count(*) FROM entry GROUP BY 1"))
    assert len(sums) == 200 - refused
    assert {(row[1], row[2]) for row in sums} == {(0, 2)}
    assert (
        await ledger.read(lambda db: db.all("SELECT currency FROM account GROUP BY 1 HAVING sum(balance_minor)")) == []
    )
    wrong = await ledger.read(
        lambda db: db.all(
            "SELECT owner FROM account AS a WHERE balance_minor <>"
            " (SELECT sum(change_minor) FROM entry AS e WHERE e.owner = a.owner AND e.currency = a.currency)"
        )
    )
    assert wrong == []


async def test_balances_are_listed_by_currency(ledger: Store) -> None:
    for currency in ("USD", "BTC"):
        await ledger.write(partial(book, transfer=transfer(Held.EXCHANGE, "alice", "1.5", currency)))
    balances = await ledger.read(lambda db: load_balances(db, "alice"))
    assert balances == [("BTC", Decimal("1.5")), ("USD", Decimal("1.5"))]


@pytest.mark.parametrize("change", ["UPDATE entry SET change_minor = 1", "DELETE FROM entry"])
async def test_entries_can_be_neither_changed_nor_deleted(ledger: Store, change: str) -> None:
    await ledger.write(lambda tx: book(tx, transfer(Held.GAME, "alice", "5", "SHARDS")))

    def tamper(tx: Tx) -> None:
        tx.execute(change)

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        await ledger.write(tamper)
