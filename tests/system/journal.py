"""What the mesh acknowledged to the users of a random run."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Answer = dict[str, Any]


@dataclass(slots=True)
class Journal:
    """By id, or by user, whatever was answered with success."""

    trades: dict[str, Answer] = field(default_factory=dict)
    """Last known state of each trade."""
    grants: Counter[str] = field(default_factory=Counter)
    """Cents of practice money granted."""
    awards: Counter[str] = field(default_factory=Counter)
    """XP awarded."""
    check_ins: set[str] = field(default_factory=set)
    interactions: list[Answer] = field(default_factory=list)
    tiers: dict[str, int] = field(default_factory=dict)
    """Highest verification tier acknowledged, 1–5."""
    payments: dict[str, Answer] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)
    """Users whose identity was noted for withdrawals."""
    minted: dict[str, Answer] = field(default_factory=dict)
    listings: dict[str, Answer] = field(default_factory=dict)
    """Offers that were made; not all are still open."""
    purchases: dict[str, Answer] = field(default_factory=dict)
    clans: dict[str, str] = field(default_factory=dict)
    """Name of each clan that was founded."""
    challenges: dict[str, Answer] = field(default_factory=dict)
    """Battles that may still be answered."""
    battles: dict[str, Answer] = field(default_factory=dict)
    """Battles that were begun and whose time has not passed."""
    refusals: Counter[str] = field(default_factory=Counter)
    """How often each reason was given."""
    done: Counter[str] = field(default_factory=Counter)
    """How often each command succeeded."""
    repeats: int = 0

    def granted_usd(self, user_id: str) -> Decimal:
        return Decimal(self.grants[user_id]) / 100
