"""The summary of a day: whatever one view tells otherwise than the others is named, and the demo ends with 1."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import typer
from rich.console import Console

from tests.story import __main__ as demo
from tests.story.day import Day
from tests.story.day_report import print_day
from tests.story.day_views import Views, summarize
from tests.story.rest import Session


def money(amount: str, currency: str = "USD") -> dict[str, str]:
    return {"currencyCode": currency, "amount": amount}


DAY = Day(
    began_ms=0,
    people={name: Session(user_id=f"u-{name}", token="") for name in ("bob", "hal")},
    trades={"t-1": {"userId": "u-bob", "amount": money("6000.00"), "fee": money("6.00"), "pnl": money("24.90")}},
    interactions=[{"userId": "u-bob", "targetUserId": "u-hal", "kind": "INTERACTION_KIND_COMMENT"}],
    subscription_payments=[{"amount": money("29.99")}, {"amount": money("9.95"), "cardLastFour": "4242"}],
    sales=[{"price": money("60", "SHARDS")}],
    battle={"pot": money("40", "SHARDS"), "fighters": [{"userId": "u-bob", "score": "110.00"}]},
    deposited=Decimal(100),
)
XP = {"bob": 60 + 2 + 50 + 25 + 25, "hal": 1950 + 25 + 5}
"""Trade, bonus, high roller, in profit, check-in; prize, check-in, comment."""
FEED = {
    "u-bob": [
        {"kind": "FEED_ENTRY_KIND_NFT_SOLD", "text": "sold an NFT for 60 SHARDS"},
        {"kind": "FEED_ENTRY_KIND_TRADE_SHARE", "text": "went long on BTC with 6000.00 USD"},
    ],
    "u-hal": [{"kind": "FEED_ENTRY_KIND_LEVEL_UP", "text": "reached level 2"}],
}
VIEWS = Views(
    revenue={
        ("TRADING_FEES", "USD"): (1, Decimal("6.00")),
        ("SUBSCRIPTIONS", "USD"): (2, Decimal("39.94")),
        ("NFT_MARKETPLACE", "SHARDS"): (1, Decimal(7)),
    },
    entries_sum=Decimal(0),
    usd={"u-bob": Decimal("70.01"), "u-hal": Decimal(0)},
    shards={"u-bob": 150 + 13, "u-hal": 20},
    ranks={
        "u-hal": {"userId": "u-hal", "rank": 1, "xp": XP["hal"], "level": 2},
        "u-bob": {"userId": "u-bob", "rank": 2, "xp": XP["bob"], "level": 1},
    },
    feed=FEED,
)


def test_views_that_tell_the_same_agree() -> None:
    assert summarize(DAY, VIEWS).disagreements == []
    assert [each.name for each in summarize(DAY, VIEWS).standings] == ["hal", "bob"]


PLANTED: list[tuple[str, Callable[[Views], Views]]] = [
    ("trades", lambda views: replace(views, feed={**FEED, "u-bob": FEED["u-bob"][:1]})),
    ("traded, USD", lambda views: replace(views, feed={**FEED, "u-bob": FEED["u-bob"] * 2})),
    ("NFTs sold", lambda views: replace(views, feed={**FEED, "u-bob": FEED["u-bob"][1:]})),
    ("fees of 0.1 %, USD", lambda views: earned(views, "TRADING_FEES", "USD", 1, "6.01")),
    ("trades", lambda views: earned(views, "TRADING_FEES", "USD", 2, "6.00")),
    ("subscriptions", lambda views: earned(views, "SUBSCRIPTIONS", "USD", 3, "39.94")),
    ("their price, USD", lambda views: earned(views, "SUBSCRIPTIONS", "USD", 2, "69.93")),
    ("platform's, SHARDS", lambda views: earned(views, "NFT_MARKETPLACE", "SHARDS", 1, "14")),
    ("one-sided entries", lambda views: replace(views, entries_sum=Decimal(3))),
    ("accounts, USD", lambda views: replace(views, usd={**views.usd, "u-hal": Decimal("0.01")})),
    ("SHARDS of all ten", lambda views: replace(views, shards={**views.shards, "u-hal": 40})),
    ("XP of bob", lambda views: ranked(views, "u-bob", xp=2 * XP["bob"])),
    ("level of hal", lambda views: ranked(views, "u-hal", level=1)),
    ("level of hal", lambda views: replace(views, feed={**FEED, "u-hal": []})),
    ("best of the day", lambda views: replace(views, ranks={"u-bob": views.ranks["u-bob"]})),
]


def earned(views: Views, stream: str, currency: str, count: int, amount: str) -> Views:
    return replace(views, revenue={**views.revenue, (stream, currency): (count, Decimal(amount))})


def ranked(views: Views, user_id: str, **other: int) -> Views:
    return replace(views, ranks={**views.ranks, user_id: {**views.ranks[user_id], **other}})


@pytest.mark.parametrize(("fact", "spoil"), PLANTED, ids=[fact for fact, _ in PLANTED])
def test_a_planted_disagreement_is_named(fact: str, spoil: Callable[[Views], Views]) -> None:
    named = [disagreement.partition(":")[0] for disagreement in summarize(DAY, spoil(VIEWS)).disagreements]
    assert fact in named


def test_people_see_who_disagrees(capsys: pytest.CaptureFixture[str]) -> None:
    summary = summarize(DAY, replace(VIEWS, shards={"u-bob": 163, "u-hal": 40}))
    print_day(Console(width=120, no_color=True), DAY, summary)
    out = capsys.readouterr().out
    assert "✗ they disagree on SHARDS of all ten: users 183, ledger 203" in out
    assert "4/4" in out
    assert "110.00" in out


def test_the_demo_ends_with_1_where_they_disagree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play(*_: Any, **__: Any) -> tuple[int, list[str]]:
        return 36, wrong

    monkeypatch.setattr(demo, "_play", play)
    monkeypatch.setattr(demo, "LocalMesh", lambda _mesh: nullcontext())
    wrong = ["trades: ledger 11, feed 12"]
    with pytest.raises(typer.Exit) as ended:
        demo.main()
    assert ended.value.exit_code == 1
    assert "Not everything is as told" in capsys.readouterr().out
    wrong.clear()
    demo.main()
    assert "agree on the day" in capsys.readouterr().out
