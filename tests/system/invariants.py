"""What must hold across the domains after any run: the callers' journal, the services and the streams agree."""

from collections.abc import Callable, Sequence

from tests.system import checks_market, checks_money, checks_progress, checks_social, checks_watchers
from tests.system.findings import Evidence, Findings

CHECKS: Sequence[Callable[[Findings, Evidence], None]] = (
    *(checks_watchers.streams, checks_money.trades, checks_money.payments, checks_money.revenue, checks_money.ledger),
    *(checks_progress.experience, checks_progress.shards, checks_market.ownership, checks_market.sales),
    *(checks_social.fame, checks_social.clans, checks_social.battles),
    *(checks_watchers.notifications, checks_watchers.audit, checks_watchers.kpis),
)


def differences(evidence: Evidence) -> list[str]:
    """Compares everything and returns what differs."""
    findings = Findings()
    for check in CHECKS:
        check(findings, evidence)
    return findings.differences
