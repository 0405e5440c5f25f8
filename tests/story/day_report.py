"""Shows a day to people: how each user stands at its end, and what the ledger, the leaderboard and the feed tell."""

from decimal import Decimal

from rich.console import Console
from rich.table import Table

from tests.story.day import Day
from tests.story.day_views import VIEWS, Summary, Value


def print_day(console: Console, day: Day, summary: Summary) -> None:
    """Prints the standings, what the views agree on, and every disagreement."""
    console.print(_standings(day, summary))
    console.print(_facts(summary))
    for disagreement in summary.disagreements:
        console.print(f"✗ they disagree on {disagreement}", style="red", markup=False)


def _standings(day: Day, summary: Summary) -> Table:
    table = Table(title="The day's ten users")
    for column in ("rank", "user", "XP", "level", "trades", "SHARDS", "USD account", "battle score"):
        table.add_column(column, justify="left" if column == "user" else "right")
    scores = {fighter["userId"]: fighter.get("score", "0") for fighter in day.battle.get("fighters", [])}
    for each in summary.standings:
        score = scores.get(day.people[each.name].user_id, "")
        cells = (each.rank, each.name, each.xp, each.level, each.trades, each.shards, each.usd, score)
        table.add_row(*map(str, cells))
    return table


def _facts(summary: Summary) -> Table:
    """Returns a row for each fact of the whole day, and for those about one user that the views disagree on."""
    table = Table("the day", *VIEWS, "", title="What its users did, and what the mesh tells of it")
    for column in table.columns[1:]:
        column.justify = "right"
    for fact in summary.facts:
        if not fact.agreed or not fact.personal:
            colour = "green" if fact.agreed else "red"
            told = (_shown(fact.told[view]) if view in fact.told else "" for view in VIEWS)
            table.add_row(fact.name, *told, f"[{colour}]{'✓' if fact.agreed else '✗'}[/]")
    personal = [fact for fact in summary.facts if fact.personal]
    right = sum(fact.agreed for fact in personal)
    table.add_section()
    table.add_row("XP and levels, user by user", *[""] * len(VIEWS), f"{right}/{len(personal)}")
    return table


def _shown(value: Value) -> str:
    return f"{value:,f}" if isinstance(value, Decimal) else str(value)
