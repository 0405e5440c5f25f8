"""The rules of trading, as tables."""

from decimal import Decimal

import pytest

from services.runtime.errors import FailedPrecondition
from services.trading.market import KNOT_MS, MARKETS, SWING, SimulatedMarket
from services.trading.model import (
    Direction,
    Portfolio,
    Position,
    Risk,
    Stake,
    battle_score,
    bonus_xp,
    fee_of,
    fill_price,
    risk_of,
)

D = Decimal


def stake(amount: str, entry: str, direction: Direction = Direction.LONG) -> Stake:
    return Stake(symbol="STRK", direction=direction, amount=D(amount), entry_price=D(entry))


@pytest.mark.parametrize(("amount", "fee"), [("1500", "1.50"), ("1000", "1.00"), ("5", "0.01"), ("4.99", "0.00")])
def test_the_fee_is_a_thousandth(amount: str, fee: str) -> None:
    assert str(fee_of(D(amount))) == fee


@pytest.mark.parametrize(
    ("direction", "price", "pnl"),
    [
        (Direction.LONG, "1.10", "100.00"),
        (Direction.LONG, "0.90", "-100.00"),
        (Direction.SHORT, "0.90", "100.00"),
        (Direction.SHORT, "1.10", "-100.00"),
        (Direction.LONG, "1", "0.00"),
    ],
)
def test_pnl_follows_the_price_and_its_sign_the_direction(direction: Direction, price: str, pnl: str) -> None:
    assert stake("1000", "1", direction).pnl_at(D(price)) == D(pnl)


def test_a_new_portfolio_can_trade_its_opening_balance() -> None:
    portfolio = Portfolio()
    assert portfolio.open(D(9000), max_position_pct=None, trades_today=0) == D("9.00")
    assert portfolio.balance == D(991)


@pytest.mark.parametrize(
    ("amount", "pct", "trades_today", "reason"),
    [
        ("10000", None, 0, "INSUFFICIENT_BALANCE"),  # the fee comes on top
        ("9990.01", None, 0, None),  # 9990.01 + 9.99 is exactly the balance
        ("9990.02", None, 0, "INSUFFICIENT_BALANCE"),
        ("1000", "10", 0, None),
        ("1000.01", "10", 0, "POSITION_LIMIT_EXCEEDED"),
        ("10", None, 19, None),
        ("10", None, 20, "DAILY_TRADE_LIMIT_REACHED"),
    ],
)
def test_a_trade_is_refused_where_a_rule_forbids_it_and_then_costs_nothing(
    amount: str, pct: str | None, trades_today: int, reason: str | None
) -> None:
    portfolio = Portfolio()
    limit = None if pct is None else D(pct)
    if reason is None:
        portfolio.open(D(amount), max_position_pct=limit, trades_today=trades_today)
        assert portfolio.balance == 10_000 - D(amount) - fee_of(D(amount))
        return
    with pytest.raises(FailedPrecondition) as caught:
        portfolio.open(D(amount), max_position_pct=limit, trades_today=trades_today)
    assert caught.value.reason == reason
    assert portfolio.balance == 10_000


def test_a_profitable_close_returns_stake_and_pnl_once() -> None:
    """The prototype took the balance from 9000 to 8000 here."""
    portfolio = Portfolio(balance=D(9000))
    assert portfolio.close(stake("1000", "1"), D("1.5")) == D(500)
    assert (portfolio.balance, portfolio.realized_pnl) == (D(10_500), D(500))


def test_a_short_never_loses_more_than_its_stake() -> None:
    portfolio = Portfolio(balance=D(0))
    assert portfolio.close(stake("1000", "1", Direction.SHORT), D(3)) == D(-1000)
    assert portfolio.balance == 0


def test_pnl_is_in_the_value_unrealised_and_then_realised_but_never_both() -> None:
    open_one = stake("1000", "1")
    portfolio, prices = Portfolio(balance=D(9000)), {"STRK": D("1.2")}
    before = portfolio.value([open_one], prices)
    portfolio.close(open_one, prices["STRK"])
    assert before == portfolio.value([], prices) == D(10_200)


def test_the_entry_price_of_a_position_is_weighted_by_units() -> None:
    position = Position(stakes=[stake("1000", "1"), stake("1000", "2")])  # 1000 + 500 units for 2000
    assert position.entry_price == D("1.33333333")
    assert position.amount == 2000


@pytest.mark.parametrize(
    ("amount", "worth", "risk"),
    [
        ("500", "10000", Risk.LOW),
        ("500.01", "10000", Risk.MEDIUM),
        ("1000", "10000", Risk.MEDIUM),
        ("1000.01", "10000", Risk.HIGH),
        ("5000", "200000", Risk.LOW),
    ],
)
def test_risk_begins_above_5_and_is_high_above_10_percent(amount: str, worth: str, risk: Risk) -> None:
    assert risk_of(D(amount), D(worth)) is risk


@pytest.mark.parametrize(("pnl", "xp"), [("9.99", 0), ("10", 1), ("1234.56", 123)])
def test_bonus_xp_is_a_tenth_of_the_pnl_rounded_down(pnl: str, xp: int) -> None:
    assert bonus_xp(D(pnl)) == xp


@pytest.mark.parametrize(
    ("pnls", "score"),
    [
        ([], "0.00"),
        ([None], "10.00"),
        ([D(50)], "160.00"),
        ([D(50), D(-30)], "90.00"),
        ([D(-500)], "0.00"),
        ([D(1)] * 25, "325.00"),
    ],
)
def test_a_battle_score_adds_pnl_win_rate_and_trades(pnls: list[Decimal | None], score: str) -> None:
    assert str(battle_score(pnls)) == score


def test_practice_fills_stay_within_a_fifth_of_a_percent() -> None:
    fills = [fill_price(D(1000), luck) for luck in range(0, 10_000, 7)]
    assert (min(fills), max(fills)) == (D(998), D(1002))


def test_the_simulated_market_is_the_same_for_everyone_and_moves_within_its_swing() -> None:
    times = range(0, 50 * KNOT_MS, KNOT_MS // 3)
    for symbol, listed in MARKETS.items():
        prices = [SimulatedMarket("s").prices(at_ms)[symbol] for at_ms in times]
        assert prices == [SimulatedMarket("s").prices(at_ms)[symbol] for at_ms in times]
        assert len(set(prices)) > 100
        assert all(abs(price / listed.base_price - 1) <= SWING for price in prices)
