"""What the ledger, the leaderboard and the feed make of a day, beside what its users were answered."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.mesh import Mesh
from tests.story import worth
from tests.story.day import PRIZES, Day
from tests.story.play import Stage
from tests.story.worth import amount_of

USERS, LEDGER, LEADERBOARD, FEED = VIEWS = ("users", "ledger", "leaderboard", "feed")
Value = Decimal | int | str
PATIENCE_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that several views tell."""

    name: str
    told: Mapping[str, Value]
    """By the names of `VIEWS`; only those that can tell it."""
    personal: bool = False
    """Whether it is about one user."""

    @property
    def agreed(self) -> bool:
        return len(set(self.told.values())) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One user at the end of the day, as the leaderboard, the ledger and the feed have it."""

    name: str
    rank: int
    xp: int
    level: int
    trades: int
    shards: int
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The end of a day."""

    facts: Sequence[Fact]
    standings: Sequence[Standing]
    """The best first."""

    @property
    def disagreements(self) -> list[str]:
        return [
            f"{fact.name}: " + ", ".join(f"{view} {value}" for view, value in fact.told.items())
            for fact in self.facts
            if not fact.agreed
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What was read, by user id where it is a user's."""

    revenue: Mapping[tuple[str, str], tuple[int, Decimal]]
    """Count and amount of what the platform has earned since the day began, by stream and currency."""
    entries_sum: Decimal
    """Sum of all entries of both ledgers: 0, unless one has only one side."""
    usd: Mapping[str, Decimal]
    shards: Mapping[str, int]
    ranks: Mapping[str, Mapping[str, Any]]
    """Rows of the all-time board."""
    feed: Mapping[str, Sequence[Mapping[str, Any]]]


async def agreed_summary(stage: Stage, day: Day, *, patience_seconds: float = PATIENCE_SECONDS) -> Summary:
    """Returns the summary as soon as all agree, or as it is when the patience ends: what is late is no disagreement."""
    deadline = time.monotonic() + patience_seconds
    while True:
        summary = summarize(day, await read_views(stage, day))
        if not summary.disagreements or time.monotonic() > deadline:
            return summary
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def read_views(stage: Stage, day: Day) -> Views:
    """Asks the mesh by REST; only the sum of all entries is read in the databases, since no user may see it."""
    rest, ids = stage.rest, {session.user_id: session for session in day.people.values()}
    began = datetime.fromtimestamp(day.began_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    revenue = (await rest.get(f"/v1/revenue?startTime={began}", session=stage.admin)).get("revenues", [])
    board = await rest.get("/v1/leaderboards/BOARD_ALL_TIME?pageSize=1000", session=stage.admin)
    usd, shards, feed = {}, {}, {}
    for user_id, session in ids.items():
        path = f"/v1/users/{user_id}"
        balances = (await rest.get(f"{path}/account", session=session)).get("balances", [])
        usd[user_id] = sum((amount_of(each) for each in balances if each["currencyCode"] == "USD"), Decimal(0))
        shards[user_id] = int(amount_of((await rest.get(f"{path}/shards", session=session)).get("balance")))
        feed[user_id] = (await rest.get(f"{path}/feed?pageSize=1000", session=session)).get("feedEntries", [])
    return Views(
        revenue={
            (row["stream"].removeprefix("REVENUE_STREAM_"), row["amount"]["currencyCode"]): (
                int(row["count"]),
                amount_of(row["amount"]),
            )
            for row in revenue
        },
        entries_sum=_entries_sum(stage.running.mesh),
        usd=usd,
        shards=shards,
        ranks={row["userId"]: row for row in board.get("ranks", []) if row["userId"] in ids},
        feed=feed,
    )


def _entries_sum(mesh: Mesh) -> Decimal:
    total = 0
    for service, column in (("financial", "entry.change_minor"), ("gamification", "shard_entry.amount")):
        table = column.partition(".")[0]
        with closing(sqlite3.connect(f"file:{mesh.database(service)}?mode=ro", uri=True, timeout=10)) as database:
            total += sum(abs(row[0]) for row in database.execute(_SUMS.format(column=column, table=table)))
    return Decimal(total)


_SUMS = "SELECT sum({column}) FROM {table} GROUP BY transfer_id"


def summarize(day: Day, views: Views) -> Summary:
    """Sets side by side what each view tells."""
    xp = _xp_of(day)
    ids = {name: session.user_id for name, session in day.people.items()}
    lines = {user_id: Counter(_kind(entry) for entry in entries) for user_id, entries in views.feed.items()}
    standings = sorted(
        (
            Standing(
                name=name,
                rank=int(views.ranks.get(user_id, {}).get("rank", 0)),
                xp=int(views.ranks.get(user_id, {}).get("xp", 0)),
                level=int(views.ranks.get(user_id, {}).get("level", 0)),
                trades=lines[user_id]["TRADE_SHARE"],
                shards=views.shards[user_id],
                usd=views.usd[user_id],
            )
            for name, user_id in ids.items()
        ),
        key=lambda standing: (standing.rank or len(ids), standing.name),
    )
    by_deeds = sorted((-xp[user_id], name) for name, user_id in ids.items())
    facts = [
        *_money_facts(day, views),
        Fact("XP of all ten", {USERS: sum(xp.values()), LEADERBOARD: sum(each.xp for each in standings)}),
        Fact("best of the day", {USERS: by_deeds[0][1], LEADERBOARD: standings[0].name}),
        *(
            fact
            for name, user_id in ids.items()
            for fact in _person_facts(name, xp[user_id], views.ranks.get(user_id, {}), views.feed[user_id])
        ),
    ]
    return Summary(facts=facts, standings=standings)


def _money_facts(day: Day, views: Views) -> list[Fact]:
    trades, prices = list(day.trades.values()), [int(amount_of(sale["price"])) for sale in day.sales]
    volume = sum((amount_of(trade["amount"]) for trade in trades), Decimal(0))
    paid = sum((amount_of(payment["amount"]) for payment in day.subscription_payments), Decimal(0))
    by_balance = sum(
        (amount_of(payment["amount"]) for payment in day.subscription_payments if "cardLastFour" not in payment),
        Decimal(0),
    )
    unlocked = sum(worth.achievement_xp(trades, day.interactions).values()) * worth.SHARDS_PER_XP
    pot = int(amount_of(day.battle.get("pot")))
    kept = sum(map(worth.platform_fee, prices))
    fees_count, fees = views.revenue.get(("TRADING_FEES", "USD"), (0, Decimal(0)))
    sales_count, sales = views.revenue.get(("NFT_MARKETPLACE", "SHARDS"), (0, Decimal(0)))
    subscriptions_count, subscriptions = views.revenue.get(("SUBSCRIPTIONS", "USD"), (0, Decimal(0)))
    entries = [entry for entries in views.feed.values() for entry in entries]
    shared = [entry for entry in entries if _kind(entry) == "TRADE_SHARE"]
    sold = [entry for entry in entries if _kind(entry) == "NFT_SOLD"]
    return [
        Fact("trades", {USERS: len(trades), LEDGER: fees_count, FEED: len(shared)}),
        Fact("traded, USD", {USERS: volume, LEDGER: fees * 1000, FEED: sum(map(_told_amount, shared), Decimal(0))}),
        Fact("fees of 0.1 %, USD", {USERS: sum((amount_of(each["fee"]) for each in trades), Decimal(0)), LEDGER: fees}),
        Fact("subscriptions", {USERS: len(day.subscription_payments), LEDGER: subscriptions_count}),
        Fact("their price, USD", {USERS: paid, LEDGER: subscriptions}),
        Fact("accounts, USD", {USERS: day.deposited - by_balance, LEDGER: sum(views.usd.values(), Decimal(0))}),
        Fact("NFTs sold", {USERS: len(prices), LEDGER: sales_count, FEED: len(sold)}),
        Fact("their price, SHARDS", {USERS: sum(prices), FEED: sum(map(_told_amount, sold), Decimal(0))}),
        Fact("platform's, SHARDS", {USERS: kept, LEDGER: sales}),
        Fact("SHARDS of all ten", {USERS: unlocked + pot - kept, LEDGER: sum(views.shards.values())}),
        Fact("one-sided entries", {USERS: 0, LEDGER: views.entries_sum}),
    ]


def _person_facts(name: str, xp: int, rank: Mapping[str, Any], feed: Sequence[Mapping[str, Any]]) -> list[Fact]:
    """Returns the XP and the level of one user; the feed, newest first, tells the level at every rise."""
    levels = [int(entry["text"].rpartition(" ")[2]) for entry in feed if _kind(entry) == "LEVEL_UP"]
    return [
        Fact(f"XP of {name}", {USERS: xp, LEADERBOARD: int(rank.get("xp", 0))}, personal=True),
        Fact(
            f"level of {name}",
            {USERS: xp // 1000 + 1, LEADERBOARD: int(rank.get("level", 0)), FEED: max(levels, default=1)},
            personal=True,
        ),
    ]


def _xp_of(day: Day) -> Counter[str]:
    """Returns what everybody's deeds bring, by the domain's page."""
    xp = worth.achievement_xp(day.trades.values(), day.interactions)
    for trade in day.trades.values():
        xp[trade["userId"]] += worth.trade_xp(trade)
    for interaction in day.interactions:
        xp[interaction["targetUserId"]] += worth.SOCIAL_XP[worth.kind_of(interaction)]
    for name, session in day.people.items():
        xp[session.user_id] += worth.CHECK_IN_XP + PRIZES.get(name, 0)
    return xp


def _kind(entry: Mapping[str, Any]) -> str:
    return str(entry["kind"]).removeprefix("FEED_ENTRY_KIND_")


def _told_amount(entry: Mapping[str, Any]) -> Decimal:
    """Returns the amount that a line ends with, as in `sold an NFT for 60 SHARDS`."""
    return Decimal(entry["text"].split()[-2])
