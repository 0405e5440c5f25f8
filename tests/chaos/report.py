"""Prints a run for people."""

from itertools import zip_longest

from rich.console import Console
from rich.table import Table

from tests.chaos.run import Outcome

console = Console(width=120)


def print_outcome(outcome: Outcome) -> None:
    """Prints kills, faults, events and the verdict."""
    options, fleet, faults, callers = outcome.options, outcome.fleet, outcome.faults, outcome.callers
    where = " on a cluster" if options.cluster else ""
    kills = Table(
        title=f"chaos{where}: {options.seconds:.0f} s, seed {options.seed}{_control(outcome)}",
        title_justify="left",
    )
    for column in ("killed at random", "times", "killed at a point", "times ", "fault", "times  "):
        kills.add_column(column, justify="right" if "times" in column else "left", no_wrap=True)
    columns = [sorted(counter.items()) for counter in (fleet.kills, fleet.points, faults.done)]
    for row in zip_longest(*columns, fillvalue=("", "")):
        kills.add_row(*(str(part) for cell in row for part in cell))
    console.print(kills)
    total = fleet.kills.total() + fleet.points.total()
    console.print(
        f"{total:,} processes killed, {sum(n for name, n in faults.done.items() if 'cut' in name)} AOF tails cut"
        f" ({faults.cut_bytes:,} bytes), {len(callers.journal):,} trades acknowledged after {callers.repeats:,} repeats"
    )
    for note in faults.notes():
        console.print(note)
    found = Table()
    for column in ("compared", "count", "lost", "doubled", "misplaced"):
        found.add_column(column, justify="left" if column == "compared" else "right")
    for one in outcome.verdict.comparisons:
        style = "green" if one.right else "red"
        what = one.what + (f" ({one.trimmed:,} trimmed)" if one.trimmed else "")
        found.add_row(what, *(f"{n:,}" for n in (one.count, one.lost, one.doubled, one.misplaced)), style=style)
    console.print(found)
    for line in _wrongs(outcome):
        console.print(f"  {line}", style="red", markup=False)
    when = f"{'converged' if outcome.converged else 'came to no end'} after {outcome.converge_seconds:.1f} s"
    word = "[bold green]0 lost, 0 doubled, order exact" if outcome.right else "[bold red]NOT RIGHT"
    console.print(f"{when}: {word}")


def _wrongs(outcome: Outcome) -> list[str]:
    return [
        *([f"its logs and databases: {outcome.folder}"] if outcome.folder.exists() else []),
        *outcome.fleet.unexpected[:10],
        *(f"refused {count} times: {what}" for what, count in outcome.callers.refused.items()),
        *(line for one in outcome.verdict.comparisons for line in one.first[:10]),
    ]


def _control(outcome: Outcome) -> str:
    return f", control {outcome.options.control}" if outcome.options.control else ""
