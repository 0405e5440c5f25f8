"""What must hold across the domains after any run: the callers' journal, the services and the streams agree."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tests.story.play import UNRELATED
from tests.story.rest import RestClient, Session
from tests.story.streams import Observed
from tests.system.commands import Journal

OPENING = Decimal(10_000)
SOCIAL_XP = {"LIKE": 2, "COMMENT": 5, "SHARE": 10, "FOLLOW": 3}
AUDITED = ("trading", "financial", "nft")


class Findings:
    """Collects what does not agree."""

    def __init__(self) -> None:
        self.differences: list[str] = []

    def same(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.differences.append(f"{what}: found {found}, expected {expected}")


async def differences(
    rest: RestClient, admin: Session, users: Sequence[Session], journal: Journal, seen: Sequence[Observed]
) -> list[str]:
    """Compares everything and returns what differs."""
    findings = Findings()
    events = _by_name(seen)
    _streams(findings, seen)
    _trades(findings, journal, events)
    await _money(findings, rest, admin, users, journal, events)
    await _progress(findings, rest, admin, users, journal, events)
    await _collections(findings, rest, users, events)
    await _watchers(findings, rest, admin, users, journal, seen)
    return findings.differences


def _by_name(seen: Sequence[Observed]) -> dict[str, list[Any]]:
    events: dict[str, list[Any]] = defaultdict(list)
    for entry in seen:
        events[entry.event.DESCRIPTOR.name].append(entry.event)
    return events


def _streams(findings: Findings, seen: Sequence[Observed]) -> None:
    """Each event once, ordinals dense."""
    ids = Counter(entry.envelope.id for entry in seen)
    findings.same("events seen twice", [event_id for event_id, count in ids.items() if count > 1], [])
    ordinals = defaultdict(list)
    for entry in seen:
        ordinals[entry.stream].append(entry.ordinal)
    for stream, found in ordinals.items():
        findings.same(f"ordinals of {stream}", found, list(range(1, len(found) + 1)))


def _trades(findings: Findings, journal: Journal, events: dict[str, list[Any]]) -> None:
    """Every acknowledged trade was published, and no other."""
    findings.same(
        "trades published", sorted(event.trade_id for event in events["TradeExecuted"]), sorted(journal.trades)
    )
    closed = [trade_id for trade_id, trade in journal.trades.items() if trade["state"] == "TRADE_STATE_COMPLETED"]
    findings.same("closes published", sorted(event.trade_id for event in events["PositionClosed"]), sorted(closed))


async def _money(
    findings: Findings,
    rest: RestClient,
    admin: Session,
    users: Sequence[Session],
    journal: Journal,
    events: dict[str, list[Any]],
) -> None:
    """Balances follow from the journal; revenue is the fees, 0.1 % of each trade."""
    expected = {user.user_id: OPENING + journal.grants.get(user.user_id, Decimal(0)) for user in users}
    for trade in journal.trades.values():
        amount, fee = Decimal(trade["amount"]["amount"]), Decimal(trade["fee"]["amount"])
        findings.same(f"fee of {amount}", fee, round(amount * Decimal("0.001") + Decimal("1e-9"), 2))
        back = amount + Decimal(trade["pnl"]["amount"]) if trade["state"] == "TRADE_STATE_COMPLETED" else Decimal(0)
        expected[trade["userId"]] += back - amount - fee
    for user in users:
        portfolio = await rest.get(f"/v1/users/{user.user_id}/portfolio", session=user)
        findings.same(f"balance of {user.user_id}", Decimal(portfolio["balance"]["amount"]), expected[user.user_id])
    fees = sum((Decimal(trade["fee"]["amount"]) for trade in journal.trades.values()), Decimal(0))
    revenue = (await rest.get("/v1/revenue", session=admin)).get("revenues", [])
    earned = {row["stream"]: Decimal(row["amount"]["amount"]) for row in revenue}
    findings.same("revenue of trading fees", earned.get("REVENUE_STREAM_TRADING_FEES", Decimal(0)), fees)
    recorded = sum((Decimal(event.amount.amount) for event in events["RevenueRecorded"]), Decimal(0))
    findings.same("revenue published", recorded, fees)


async def _progress(
    findings: Findings,
    rest: RestClient,
    admin: Session,
    users: Sequence[Session],
    journal: Journal,
    events: dict[str, list[Any]],
) -> None:
    """XP is the sum of XpGained and follows from the journal; ranks follow XP."""
    published: Counter[str] = Counter()
    for event in events["XpGained"]:
        published[event.user_id] += event.xp
    expected = Counter(journal.awards)
    for trade in journal.trades.values():
        expected[trade["userId"]] += max(10, int(Decimal(trade["amount"]["amount"]) / 100))
        pnl = Decimal(trade["pnl"]["amount"]) if "pnl" in trade else Decimal(0)
        expected[trade["userId"]] += max(0, int(pnl / 10))
    for interaction in journal.interactions:
        expected[interaction["targetUserId"]] += SOCIAL_XP[interaction["kind"].removeprefix("INTERACTION_KIND_")]
    expected += _achievement_xp(journal)
    totals = {}
    for user in users:
        progression = await rest.get(f"/v1/users/{user.user_id}/progression", session=user)
        total = totals[user.user_id] = int(progression.get("totalXp", 0))
        findings.same(f"XP of {user.user_id} against XpGained", total, published[user.user_id])
        findings.same(f"XP of {user.user_id} against the journal", total, expected[user.user_id])
        findings.same(f"level of {user.user_id}", progression["level"], total // 1000 + 1)
    board = await rest.get("/v1/leaderboards/BOARD_ALL_TIME?pageSize=1000", session=admin)
    ranked = [(row["userId"], int(row["xp"])) for row in board.get("ranks", [])]
    findings.same("scores on the board", dict(ranked), {user: xp for user, xp in totals.items() if xp})
    findings.same("order of the board", [xp for _, xp in ranked], sorted((xp for _, xp in ranked), reverse=True))


def _achievement_xp(journal: Journal) -> Counter[str]:
    """Returns what the deeds of the journal bring in achievements, each once a user."""
    deeds: Counter[tuple[str, str]] = Counter()
    for trade in journal.trades.values():
        deeds[trade["userId"], "trade"] += 1
        deeds[trade["userId"], "large"] += Decimal(trade["amount"]["amount"]) > 5000
        pnl = Decimal(trade["pnl"]["amount"]) if "pnl" in trade else Decimal(0)
        deeds[trade["userId"], "profit"] += pnl > 0
        deeds[trade["userId"], "big win"] += pnl > 500
    for interaction in journal.interactions:
        deeds[interaction["userId"], "interaction"] += 1
    brings = {"large": (1, 50), "profit": (1, 25), "big win": (1, 100), "interaction": (10, 30)}
    xp: Counter[str] = Counter()
    for (user_id, deed), times in deeds.items():
        for goal, reward in ((10, 50), (100, 200)) if deed == "trade" else (brings[deed],):
            xp[user_id] += reward * (times >= goal)
    return xp


async def _collections(
    findings: Findings, rest: RestClient, users: Sequence[Session], events: dict[str, list[Any]]
) -> None:
    """Each level-up brought one NFT and the title; influence is the sum of what was done."""
    level_ups, influence = defaultdict(list), Counter[str]()
    for event in events["LevelUp"]:
        level_ups[event.user_id].append(event.new_level)
    for event in events["SocialInteraction"]:
        influence[event.user_id] += event.influence
    for user in users:
        levels = sorted(level_ups[user.user_id])
        nfts = (await rest.get(f"/v1/users/{user.user_id}/nfts?pageSize=1000", session=user)).get("nfts", [])
        pioneers = sorted(nft["displayName"] for nft in nfts if nft["rewardKind"] == "REWARD_KIND_LEVEL")
        findings.same(f"NFTs of {user.user_id}", pioneers, sorted(f"Level {level} Pioneer" for level in levels))
        profile = await rest.get(f"/v1/users/{user.user_id}", session=user)
        findings.same(f"title of {user.user_id}", profile.get("title", ""), f"Level {levels[-1]}" if levels else "")
        findings.same(f"influence of {user.user_id}", int(profile.get("influence", 0)), influence[user.user_id])


async def _watchers(
    findings: Findings,
    rest: RestClient,
    admin: Session,
    users: Sequence[Session],
    journal: Journal,
    seen: Sequence[Observed],
) -> None:
    """The audit trail is complete and intact; the KPIs are what the journal adds up to."""
    audit = await rest.get("/v1/auditEntries:verify", session=admin)
    audited = sum(entry.envelope.source in AUDITED for entry in seen)
    findings.same("audit trail intact", audit.get("intact", False), True)
    findings.same("audit entries", int(audit.get("entryCount", 0)), audited)
    kpis = await rest.get("/v1/kpis", session=admin)
    values = {kpi["kind"].removeprefix("KPI_KIND_"): Decimal(kpi["value"]) for kpi in kpis["kpis"]}
    volume = sum((Decimal(trade["amount"]["amount"]) for trade in journal.trades.values()), Decimal(0))
    findings.same("daily volume", values["DAILY_VOLUME"], volume)
    findings.same("registrations", values["REGISTRATIONS"], Decimal(len(users) + 1))  # and the admin
    expected = Counter(entry.stream for entry in seen if entry.stream not in UNRELATED)
    counted = {row["stream"]: int(row["count"]) for row in kpis["streams"] if row["stream"] not in UNRELATED}
    findings.same("events counted", counted, dict(expected))
