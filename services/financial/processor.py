"""The port to a payment processor, and the embedded one, which is simulated.

A charge, refund or payout is told by its `key`: with the same key again it is the same one, and moves nothing more.
"""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from services.financial.model_payments import Card, CardToken
from services.runtime.clock import Clock, wall_clock

APPROVED = "4242424242424242"
"""The test card that is charged; any other number that is a card number is, too."""
TEST_CARDS: Mapping[str, str] = {
    "4000000000000002": "CARD_DECLINED",
    "4000000000009995": "CARD_INSUFFICIENT_FUNDS",
    "4000000000000069": "CARD_EXPIRED",
}
"""Test cards that are declined, and the reason."""

_APPROVES = "OK"


class Declined(Exception):
    """The processor refuses for good; nothing was moved."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """As an AIP-193 reason."""


class Processor(Protocol):
    """What is asked of a processor. Each raises `Declined`, or `Unavailable` when the outcome is not known."""

    async def tokenize(self, card: Card) -> CardToken:
        """Returns the token of a card. Moves nothing."""

    async def charge(self, *, token: str, amount: Decimal, currency: str, key: str) -> str:
        """Takes an amount from a card and returns the id of the charge."""

    async def refund(self, *, charge_id: str, amount: Decimal, currency: str, key: str) -> None:
        """Gives back a part of a charge."""

    async def pay_out(self, *, token: str, amount: Decimal, currency: str, key: str) -> None:
        """Pays an amount to a card."""


class SimulatedProcessor:
    """Approves every card but the test cards above and expired ones. It keeps nothing and moves no money.

    A token holds how its card behaves, so answers are the same after a restart, and a charge's id follows from its key.
    """

    def __init__(self, clock: Clock = wall_clock) -> None:
        self._clock = clock

    async def tokenize(self, card: Card) -> CardToken:
        outcome = TEST_CARDS.get(card.number, _APPROVES)
        return CardToken(f"sim.{card.expire_year}.{card.expire_month}.{outcome}.{secrets.token_hex(8)}", card.last_four)

    async def charge(self, *, token: str, amount: Decimal, currency: str, key: str) -> str:
        self._check(token)
        return f"sim.charge.{hashlib.sha256(key.encode()).hexdigest()[:24]}"

    async def refund(self, *, charge_id: str, amount: Decimal, currency: str, key: str) -> None:
        if not charge_id.startswith("sim.charge."):
            raise Declined("CHARGE_NOT_FOUND")

    async def pay_out(self, *, token: str, amount: Decimal, currency: str, key: str) -> None:
        self._check(token)

    def _check(self, token: str) -> None:
        maker, year, month, outcome, _ = token.split(".")
        if maker != "sim":
            raise Declined("CARD_DECLINED")
        if outcome != _APPROVES:
            raise Declined(outcome)
        now = datetime.fromtimestamp(self._clock() / 1000, UTC)
        if (now.year, now.month) > (int(year), int(month)):
            raise Declined("CARD_EXPIRED")
