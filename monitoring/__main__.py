"""`make dashboards` and `make metrics-doc`: what is made of code."""

from pathlib import Path

import typer
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from rich.console import Console

from monitoring.boards import BOARDS
from monitoring.catalogue import page
from services.mesh import ROOT

app = typer.Typer(add_completion=False, no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)

DASHBOARDS = ROOT / "monitoring" / "dashboards"
CATALOGUE = ROOT / "docs" / "metrics.md"


@app.command()
def dashboards(folder: Path = DASHBOARDS) -> None:
    """Writes each dashboard as the JSON that Grafana takes."""
    folder.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        path = folder / f"{board.uid}.json"
        path.write_text(JSONEncoder(sort_keys=True, indent=2).encode(board.build().build()) + "\n")
        console.print(path, markup=False)


@app.command()
def catalogue() -> None:
    """Writes the page with every number that a process of the mesh shows."""
    CATALOGUE.write_text(page())
    console.print(CATALOGUE, markup=False)


if __name__ == "__main__":
    app()
