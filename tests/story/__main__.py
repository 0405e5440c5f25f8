"""`make demo`: the 36-event story, then a day of ten users, on a mesh of its own in a temporary folder."""

import asyncio
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status

from services.local import LocalMesh, StartFailed
from services.local.processes import processes
from services.mesh import Mesh
from tests.story.chains import STORY_3
from tests.story.day import DayPlay
from tests.story.day_report import print_day
from tests.story.day_views import agreed_summary
from tests.story.kills import kill_all_in_turn
from tests.story.play import Stage
from tests.story.report import print_outcome

console = Console(highlight=False, soft_wrap=True)

DEADLINE_SECONDS = 30.0
DEADLINE_WITH_KILLS_SECONDS = 120.0

Kill = Annotated[bool, typer.Option("--kill", help="Kill every process once while the trades are on their way.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the folder with data and logs.")]


def main(kill: Kill = False, keep: Keep = False) -> None:
    """Makes four trades and checks that exactly the 36 events of the story follow; then plays a day of ten users.

    Ends with 1 if other events follow, or if ledger, leaderboard and feed do not agree on the day.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="astra-demo-"))
    mesh = Mesh.at(folder, free_ports=True)
    passed, events = False, 0
    try:
        with console.status("Starting the mesh") as status, LocalMesh(mesh) as running:
            count = len(processes(mesh))
            console.print(f"A mesh of {count} processes is ready after {time.monotonic() - began:.1f} s.")
            status.update("Playing the story")
            events, wrong = asyncio.run(_play(running, status, kill=kill))
            passed = not wrong
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
    if not passed:
        console.print("[red]Not everything is as told.[/]")
        raise typer.Exit(1)
    console.print(
        f"[green]✓ exactly {events} events, as told; ledger, leaderboard and feed agree on the day[/]"
        f" ({time.monotonic() - began:.1f} s in all)"
    )


async def _play(running: LocalMesh, status: Status, *, kill: bool) -> tuple[int, Sequence[str]]:
    """Plays and prints both parts; returns the number of the story's events, and what is wrong."""
    deadline_seconds = DEADLINE_WITH_KILLS_SECONDS if kill else DEADLINE_SECONDS
    async with Stage(running, deadline_seconds=deadline_seconds) as stage:
        disturbance = kill_all_in_turn(running, STORY_3, random.Random()) if kill else None
        outcome = await stage.play("story-3", STORY_3, disturbance)
        print_outcome(console, outcome)
        status.update("Playing the day of ten users")
        began = time.monotonic()
        day = await DayPlay(stage).play()
        summary = await agreed_summary(stage, day)
        print_day(console, day, summary)
        console.print(f"The day took {time.monotonic() - began:.1f} s.")
    return len(outcome.observed), [*outcome.differences, *summary.disagreements]


if __name__ == "__main__":
    typer.run(main)
