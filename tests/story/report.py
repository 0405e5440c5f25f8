"""Shows a played story to people: the tree of each chain, the count of each domain, and how long it took."""

from collections.abc import Sequence
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from services import contracts
from services.mesh import SERVICES
from tests.story.check import domain_counts
from tests.story.play import Chain, Outcome
from tests.story.streams import Observed


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Prints everything that was seen, and every difference from what was expected."""
    for chain in outcome.chains:
        console.print(_tree(chain))
    console.print(_counts(outcome))
    _print_latencies(console, outcome.chains)
    for difference in outcome.differences:
        console.print(f"✗ {difference}", style="red", markup=False)


def _tree(chain: Chain) -> Tree:
    act = chain.act
    title = f"[bold]{act.player} buys {act.symbol} for ${act.amount_usd:,}[/]  [dim]{chain.correlation_id}[/]"
    tree = Tree(title)
    entries = sorted(chain.observed, key=lambda entry: entry.recorded_ms)
    start_ms = entries[0].recorded_ms if entries else 0
    known = {entry.envelope.id for entry in entries}

    def grow(branch: Tree, cause: str) -> None:
        for entry in entries:
            causation_id = entry.envelope.causation_id
            if causation_id == cause or (not cause and causation_id not in known):
                grow(branch.add(_line(entry, start_ms)), entry.envelope.id)

    grow(tree, "")
    return tree


def _line(entry: Observed, start_ms: int) -> str:
    domain = contracts.events()[entry.stream].domain
    return f"{entry.name} [dim]{domain}[/] [cyan]+{entry.recorded_ms - start_ms} ms[/]"


def _counts(outcome: Outcome) -> Table:
    expected = _expected_counts(outcome.chains)
    found = domain_counts(outcome.observed)
    table = Table("domain", "events", "expected", title="Events of the story's chains")
    for domain in [service.name for service in SERVICES if expected[service.name] or found[service.name]]:
        right = found[domain] == expected[domain]
        table.add_row(domain, f"[{'green' if right else 'red'}]{found[domain]}[/]", str(expected[domain]))
    table.add_section()
    table.add_row("all", str(sum(found.values())), str(sum(expected.values())))
    return table


def _expected_counts(chains: Sequence[Chain]) -> dict[str, int]:
    counts = {service.name: 0 for service in SERVICES}
    for chain in chains:
        for event in chain.expected:
            counts[contracts.events()[contracts.stream_of(event.event)].domain] += 1
    return counts


def _print_latencies(console: Console, chains: Sequence[Chain]) -> None:
    recorded, seen = [], []
    for chain in chains:
        start_ms = min((entry.recorded_ms for entry in chain.observed), default=0)
        # The trade's own events are no reaction to it.
        effects = [entry for entry in chain.observed if contracts.events()[entry.stream].domain != "trading"]
        recorded += [entry.recorded_ms - start_ms for entry in effects]
        seen += [entry.seen_ms - start_ms for entry in effects]
    if recorded:
        for what, times in (("recorded in its service", recorded), ("seen in its stream", seen)):
            console.print(
                f"From the trade to an effect {what}: {fmean(times):.0f} ms on average, {max(times):.0f} ms at most"
            )
