"""Those who only watch: notifications as the events demand, a whole audit trail, KPIs that are the ledger's numbers."""

from collections import Counter
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tests.story.play import UNRELATED
from tests.story.worth import amount_of, kind_of
from tests.system.findings import Evidence, Findings

AUDITED = ("trading", "financial", "nft")
KEPT = 200
"""Notifications that a user keeps."""
OWN_NEWS = (
    *("TradingRewardsCalculated", "RiskAlertRaised", "LevelUp", "AchievementUnlocked", "SocialRatingChanged"),
    *("PaymentCompleted", "PaymentFailed", "SubscriptionChanged", "RewardDistributed", "TradeFailed"),
)
"""Events that are news to the user they name."""
SILENT_KINDS = ("TRADE_SHARE", "NEGATIVE")


def streams(findings: Findings, evidence: Evidence) -> None:
    """Each event once, ordinals dense."""
    ids = Counter(entry.envelope.id for entry in evidence.seen)
    findings.same("events seen twice", [event_id for event_id, count in ids.items() if count > 1], [])
    for stream in {entry.stream for entry in evidence.seen}:
        found = sorted(entry.ordinal for entry in evidence.seen if entry.stream == stream)
        findings.same(f"ordinals of {stream}", found, list(range(1, len(found) + 1)))


def notifications(findings: Findings, evidence: Evidence) -> None:
    """Every user was told of what concerns it, once."""
    expected: dict[str, Counter[tuple[str, str]]] = {user_id: Counter() for user_id in evidence.world.users}
    for user_id, event_type, subject in _news(evidence):
        if user_id in expected:
            expected[user_id][event_type, subject] += 1
    for user_id, of_user in evidence.world.users.items():
        found = Counter(
            (row["eventType"].rpartition(".")[2], row.get("subject", "")) for row in of_user["notifications"]
        )
        if expected[user_id].total() <= KEPT:
            findings.same_items(f"notifications to {user_id}", found, expected[user_id])
        else:
            findings.same(f"notifications to {user_id}", found.total(), KEPT)


def _news(evidence: Evidence) -> Iterator[tuple[str, str, str]]:
    """Yields whom each event concerns, its name and its subject."""
    for entry in evidence.seen:
        event: Any = entry.event
        name, subject = event.DESCRIPTOR.name, entry.envelope.subject
        if name in OWN_NEWS:
            yield event.user_id, name, subject
        elif name == "SocialInteraction":
            kind = type(event).DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number[event.kind].name
            if kind_of({"kind": kind}) not in SILENT_KINDS:
                yield event.target_user_id, name, subject
        elif name == "ClanBattleCompleted":
            for share in event.shares:
                yield share.user_id, name, subject
        elif name == "NftSold":
            yield event.buyer_user_id, name, subject
        elif name == "MarketplaceSale":
            yield event.seller_user_id, name, subject


def audit(findings: Findings, evidence: Evidence) -> None:
    """The trail is intact and has every event of the domains it is about, once."""
    world = evidence.world
    findings.same("audit trail intact", world.audit.get("intact", False), True)
    findings.same("audit entries", int(world.audit.get("entryCount", 0)), len(world.audited))
    events = sorted(entry.envelope.id for entry in evidence.seen if entry.envelope.source in AUDITED)
    findings.same("events in the audit trail", sorted(row["eventId"] for row in world.audited), events)
    numbers = sorted(int(row["number"]) for row in world.audited)
    findings.same("numbers of the audit trail", numbers, list(range(1, len(numbers) + 1)))


def kpis(findings: Findings, evidence: Evidence) -> None:
    """Volume and revenue are what trades and the ledger add up to; everybody who registered was active."""
    values = {kpi["kind"].removeprefix("KPI_KIND_"): Decimal(kpi["value"]) for kpi in evidence.world.kpis["kpis"]}
    people = Decimal(len(evidence.users) + 1)  # and the admin
    volume = sum((amount_of(trade["amount"]) for trade in evidence.journal.trades.values()), Decimal(0))
    revenue = sum(
        (
            amount_of(row["amount"])
            for row in evidence.world.revenue
            if (row["mode"], row["amount"]["currencyCode"]) == ("REVENUE_MODE_LIVE", "USD")
        ),
        Decimal(0),
    )
    expected = {
        "DAILY_VOLUME": volume,
        "REGISTRATIONS": people,
        "DAILY_ACTIVE_USERS": people,
        "DAILY_REVENUE": revenue,
        "REVENUE_PER_USER": (revenue / people).quantize(Decimal("0.01"), ROUND_HALF_UP),
        "ENGAGEMENT": (len(evidence.journal.interactions) / people).quantize(Decimal("0.01"), ROUND_HALF_UP),
    }
    findings.same_items("KPI", {name: values[name] for name in expected}, expected)
    seen = Counter(entry.stream for entry in evidence.seen if entry.stream not in UNRELATED)
    counted = {
        row["stream"]: int(row["count"]) for row in evidence.world.kpis["streams"] if row["stream"] not in UNRELATED
    }
    findings.same_items("events counted", counted, seen)
