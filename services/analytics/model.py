"""The KPIs: how each is worked out of the day's counts, and how it stands against its targets.

Volume counts the stakes of every mode, since it tells how much is traded. Revenue counts real USD alone: practice fees
are money that nobody has, and SHARDS are another currency; GetRevenue of financial has both. Engagement counts what
users do to each other, so not the trade shares, which the mesh makes of every trade.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import IntEnum, StrEnum

DAY_MS = 24 * 3600 * 1000
RATE_SECONDS = 60
"""Trades per second are the mean over so long."""


class KpiKind(IntEnum):
    """As `astra.analytics.v1.KpiKind`."""

    TRADES_PER_SECOND = 1
    DAILY_VOLUME = 2
    DAILY_ACTIVE_USERS = 3
    REGISTRATIONS = 4
    DAILY_REVENUE = 5
    REVENUE_PER_USER = 6
    ENGAGEMENT = 7


class KpiStatus(IntEnum):
    """As `astra.analytics.v1.KpiStatus`."""

    ON_TARGET = 1
    BELOW_TARGET = 2
    WARNING = 3
    CRITICAL = 4


class Counter(StrEnum):
    """What is counted by day."""

    VOLUME_CENTS = "volume_cents"
    ACTIVE_USERS = "active_users"
    REGISTRATIONS = "registrations"
    REVENUE_CENTS = "revenue_cents"
    INTERACTIONS = "interactions"


@dataclass(frozen=True, slots=True)
class Target:
    """The unit and decimal places of a KPI, and where it should be."""

    unit: str
    places: int
    target: Decimal
    warning: Decimal
    critical: Decimal


TARGETS: Mapping[KpiKind, Target] = {
    KpiKind.TRADES_PER_SECOND: Target("1/s", 2, Decimal(10), Decimal(5), Decimal(2)),
    KpiKind.DAILY_VOLUME: Target("USD", 2, Decimal(1_000_000), Decimal(500_000), Decimal(100_000)),
    KpiKind.DAILY_ACTIVE_USERS: Target("users", 0, Decimal(1000), Decimal(500), Decimal(100)),
    KpiKind.REGISTRATIONS: Target("users", 0, Decimal(50), Decimal(25), Decimal(10)),
    KpiKind.DAILY_REVENUE: Target("USD", 2, Decimal(10_000), Decimal(5_000), Decimal(1_000)),
    KpiKind.REVENUE_PER_USER: Target("USD", 2, Decimal(100), Decimal(50), Decimal(10)),
    KpiKind.ENGAGEMENT: Target("interactions/user", 2, Decimal(8), Decimal(6), Decimal(4)),
}


def kpi_values(counts: Mapping[Counter, int], *, recent_trades: int) -> Mapping[KpiKind, Decimal]:
    """Works out the KPIs, rounded to their places, from a day's counts and the trades of the last RATE_SECONDS."""
    counted = {counter: Decimal(counts.get(counter, 0)) for counter in Counter}
    revenue, users = counted[Counter.REVENUE_CENTS] / 100, counted[Counter.ACTIVE_USERS]
    exact = {
        KpiKind.TRADES_PER_SECOND: Decimal(recent_trades) / RATE_SECONDS,
        KpiKind.DAILY_VOLUME: counted[Counter.VOLUME_CENTS] / 100,
        KpiKind.DAILY_ACTIVE_USERS: users,
        KpiKind.REGISTRATIONS: counted[Counter.REGISTRATIONS],
        KpiKind.DAILY_REVENUE: revenue,
        KpiKind.REVENUE_PER_USER: revenue / users if users else Decimal(0),
        KpiKind.ENGAGEMENT: counted[Counter.INTERACTIONS] / users if users else Decimal(0),
    }
    return {
        kind: value.quantize(Decimal(1).scaleb(-TARGETS[kind].places), ROUND_HALF_UP) for kind, value in exact.items()
    }


def status_of(kind: KpiKind, value: Decimal) -> KpiStatus:
    """Returns how a value, as it is shown, stands: at its target it is on target, at its warning only below target."""
    goal = TARGETS[kind]
    if value >= goal.target:
        return KpiStatus.ON_TARGET
    if value >= goal.warning:
        return KpiStatus.BELOW_TARGET
    return KpiStatus.WARNING if value >= goal.critical else KpiStatus.CRITICAL
