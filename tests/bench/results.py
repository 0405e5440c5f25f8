"""What every benchmark prints and writes: a table for people, `build/bench/NAME.json` for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from services.mesh import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One figure. `goal` is a bound such as `>= 6`; none for a figure that only informs."""

    name: str
    value: float
    unit: str
    goal: str | None = None

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        comparison, bound = self.goal.split()
        return self.value >= float(bound) if comparison == ">=" else self.value <= float(bound)


def report(name: str, results: Sequence[Result], samples: Mapping[str, object]) -> None:
    """Prints the table, names the goals that are not met, and writes the file. Never fails because of a goal."""
    table = Table(title=f"make bench: {name}")
    for column in ("figure", "value", "unit", "goal", "met"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for result in results:
        mark = {True: "[green]yes", False: "[red]no", None: ""}[result.met]
        table.add_row(result.name, f"{result.value:,.2f}", result.unit, result.goal or "", mark)
    console = Console()
    console.print(table)
    for result in results:
        if result.met is False:
            console.print(f"goal not met: {result.name} is {result.value:,.2f} {result.unit}, wanted {result.goal}")
    path = ROOT / "build" / "bench" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(result), "met": result.met} for result in results]
    path.write_text(json.dumps({"results": rows, "samples": samples}, indent=2) + "\n")
    console.print(f"written to {path.relative_to(ROOT)}")
