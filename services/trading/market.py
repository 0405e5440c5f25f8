"""The market: a port for quotes, and the simulated one that is behind it until a real feed is."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol

from services.runtime.errors import NotFound
from services.trading.model import DAY_MS, PRICE_STEP

KNOT_MS = 15 * 60 * 1000
"""Between two knots of the simulated curve the price moves in a straight line."""
SWING = Decimal("0.05")
"""Most a simulated price is away from its base, as a share of it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A market and the price around which it is simulated, USD."""

    name: str
    base_price: Decimal


MARKETS: Mapping[str, Listed] = {
    "ADA": Listed("Cardano", Decimal("0.45")),
    "BTC": Listed("Bitcoin", Decimal(65000)),
    "ETH": Listed("Ethereum", Decimal(3200)),
    "LINK": Listed("Chainlink", Decimal("14.50")),
    "MATIC": Listed("Polygon", Decimal("0.70")),
    "SOL": Listed("Solana", Decimal(150)),
    "STRK": Listed("Starknet", Decimal("0.55")),
}


class Market(Protocol):
    """Where quotes come from."""

    def prices(self, at_ms: int) -> Mapping[str, Decimal]:
        """Returns the price of every market by symbol, USD with at most 8 places."""


class SimulatedMarket:
    """Prices that wander around a base, the same for everyone with the same seed."""

    def __init__(self, seed: str = "astra") -> None:
        self._seed = seed

    def prices(self, at_ms: int) -> Mapping[str, Decimal]:
        return {symbol: self._price(symbol, at_ms) for symbol in MARKETS}

    def _price(self, symbol: str, at_ms: int) -> Decimal:
        knot, within = divmod(at_ms, KNOT_MS)
        before, after = self._height(symbol, knot), self._height(symbol, knot + 1)
        height = before + (after - before) * within / KNOT_MS
        return (MARKETS[symbol].base_price * (1 + SWING * height)).quantize(PRICE_STEP, ROUND_HALF_UP)

    def _height(self, symbol: str, knot: int) -> Decimal:
        """Returns the height of a knot, in [-1, 1]."""
        digest = hashlib.sha256(f"{self._seed}:{symbol}:{knot}".encode()).digest()
        return Decimal(int.from_bytes(digest[:4], "big")) / Decimal(2**31) - 1


def listed(symbol: str) -> str:
    """Returns the symbol. Raises `NotFound` `MARKET_NOT_FOUND` if it is not traded."""
    if symbol not in MARKETS:
        raise NotFound(
            f"there is no market {symbol[:20]!r}; there are {', '.join(MARKETS)}",
            reason="MARKET_NOT_FOUND",
            symbol=symbol,
        )
    return symbol


def change_24h_pct(market: Market, symbol: str, at_ms: int) -> Decimal:
    """Returns the change against 24 h before, percent with 2 places."""
    now, before = market.prices(at_ms)[symbol], market.prices(at_ms - DAY_MS)[symbol]
    return ((now - before) * 100 / before).quantize(Decimal("0.01"), ROUND_HALF_UP)
