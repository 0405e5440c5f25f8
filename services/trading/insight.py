"""What tells a user of its risk and its results, and changes nothing."""

import copy
from decimal import Decimal

from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.events_pb2 import RiskLevel

from services.runtime.call import Call
from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.money import USD, decimal_text, parse_decimal, parse_money, to_money
from services.runtime.store import Store
from services.runtime.transaction import Reader
from services.trading import store as sql
from services.trading.market import Market, listed
from services.trading.model import DAY_MS, Mode, fee_of, position_pct, risk_of
from services.trading.performance import performance_of

DEFAULT_DAYS, MAX_DAYS = 30, 365


class Insight:
    """Serves AssessRisk and GetPerformance."""

    _store: Store
    _market: Market

    async def assess_risk(self, request: pb.AssessRiskRequest, call: Call) -> pb.AssessRiskResponse:
        amount = parse_money(request.amount, field="amount", currency=USD)
        limit_pct = max_position_pct(request.max_position_pct)
        symbol, now_ms = listed(request.symbol), self._store.clock()
        prices = self._market.prices(now_ms)

        def assess(db: Reader) -> pb.AssessRiskResponse:
            portfolio, stakes = sql.load_portfolio(db, request.user_id), sql.open_stakes(db, request.user_id)
            worth = portfolio.value(stakes, prices)
            in_market = amount + sum((stake.amount for stake in stakes if stake.symbol == symbol), Decimal(0))
            refusal = ""
            try:
                trades_today = sql.count_trades_today(db, request.user_id, now_ms)
                copy.copy(portfolio).open(amount, max_position_pct=limit_pct, trades_today=trades_today)
            except FailedPrecondition as error:
                refusal = error.reason
            return pb.AssessRiskResponse(
                level=RiskLevel.Name(risk_of(amount, worth)),
                position_pct=decimal_text(position_pct(amount, worth)),
                market_pct=decimal_text(position_pct(in_market, worth)),
                fee=to_money(fee_of(amount)),
                max_loss=to_money(amount + fee_of(amount)),
                portfolio_value=to_money(worth),
                refusal=refusal,
            )

        return await self._store.read(assess)

    async def get_performance(self, request: pb.GetPerformanceRequest, call: Call) -> pb.GetPerformanceResponse:
        if not 0 <= request.days <= MAX_DAYS:
            raise InvalidArgument(f"days must be 1–{MAX_DAYS}, or 0 for {DEFAULT_DAYS}", field="days")
        first_day = self._store.clock() // DAY_MS - (request.days or DEFAULT_DAYS) + 1
        mode = mode_of(request.mode)
        performance = await self._store.read(lambda db: performance_of(db, request.user_id, mode, first_day=first_day))
        return pb.GetPerformanceResponse(performance=performance)


def max_position_pct(text: str) -> Decimal | None:
    """Reads the largest allowed share of the balance; None for no limit. Raises `InvalidArgument`."""
    if not text:
        return None
    pct = parse_decimal(text, field="max_position_pct")
    if not 0 < pct <= 100:
        raise InvalidArgument("max_position_pct must be in (0, 100]", field="max_position_pct")
    return pct


def mode_of(number: int) -> Mode:
    """Returns the mode; PRACTICE for none. Raises `InvalidArgument` for one that there is not."""
    try:
        return Mode(number or Mode.PRACTICE)
    except ValueError:
        raise InvalidArgument(f"there is no mode {number}", field="mode") from None
