"""`make demo`: the 36-event story on a mesh of its own, in a temporary folder and on free ports."""

import asyncio
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.local import LocalMesh, StartFailed
from services.local.processes import processes
from services.mesh import Mesh
from tests.story.chains import STORY_3
from tests.story.kills import kill_all_in_turn
from tests.story.play import Outcome, Stage
from tests.story.report import print_outcome

console = Console(highlight=False, soft_wrap=True)

DEADLINE_SECONDS = 30.0
DEADLINE_WITH_KILLS_SECONDS = 120.0

Kill = Annotated[bool, typer.Option("--kill", help="Kill every process once while the trades are on their way.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the folder with data and logs.")]


def main(kill: Kill = False, keep: Keep = False) -> None:
    """Makes four trades and checks that exactly the 36 events of the story follow. Ends with 1 if not."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="astra-demo-"))
    mesh = Mesh.at(folder, free_ports=True)
    passed = False
    try:
        with console.status("Starting the mesh") as status, LocalMesh(mesh) as running:
            count = len(processes(mesh))
            console.print(f"A mesh of {count} processes is ready after {time.monotonic() - began:.1f} s.")
            status.update("Playing the story")
            outcome = asyncio.run(_play(running, kill=kill))
            print_outcome(console, outcome)
            passed = not outcome.differences
            status.update("Stopping the mesh")
    except StartFailed as error:
        console.print(str(error), style="red", markup=False)
    except KeyboardInterrupt:
        console.print("Stopped before its end.", style="red")
    finally:
        if passed and not keep:
            shutil.rmtree(folder)
        else:
            console.print(f"Data and logs are kept: {folder / 'log'}", markup=False)
    events = len(outcome.observed) if passed else 0
    if not passed:
        console.print("[red]The story is not as told.[/]")
        raise typer.Exit(1)
    console.print(f"[green]✓ exactly {events} events, as told[/] ({time.monotonic() - began:.1f} s in all)")


async def _play(running: LocalMesh, *, kill: bool) -> Outcome:
    deadline_seconds = DEADLINE_WITH_KILLS_SECONDS if kill else DEADLINE_SECONDS
    async with Stage(running, deadline_seconds=deadline_seconds) as stage:
        disturbance = kill_all_in_turn(running, STORY_3, random.Random()) if kill else None
        return await stage.play("story-3", STORY_3, disturbance)


if __name__ == "__main__":
    typer.run(main)
