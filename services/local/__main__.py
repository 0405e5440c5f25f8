"""`make run`: a whole mesh on this machine until Ctrl-C."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.local.local_mesh import AlreadyRunning, LocalMesh, StartFailed
from services.local.ports import PortsTaken
from services.local.processes import Process, processes
from services.local.status import look, show
from services.local.welcome import print_welcome
from services.mesh import ROOT, Mesh

app = typer.Typer(add_completion=False, no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)

LOOK_SECONDS = 0.5

StateDir = Annotated[Path, typer.Option(help="Folder of data, keys and logs; kept from run to run.")]
FreePorts = Annotated[bool, typer.Option("--free-ports", help="Choose free ports instead of the fixed ones.")]
ReadySeconds = Annotated[float, typer.Option(help="How long the processes may take to be ready.", min=1)]


@app.callback()
def main() -> None:
    """Runs the mesh on this machine."""


@app.command()
def run(state_dir: StateDir = ROOT / "var", free_ports: FreePorts = False, ready_seconds: ReadySeconds = 60) -> None:
    """Starts every process, waits until all are ready, prints what to try, and stops all on Ctrl-C.

    REDIS_URL names a Redis of your own; without it one is started, with its data in the state folder.
    """
    # Being asked to stop is like Ctrl-C, also while starting.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    mesh = Mesh.at(state_dir, redis_url=os.environ.get("REDIS_URL"), free_ports=free_ports)
    try:
        with console.status("Starting") as status:
            on_ready = _reporter(mesh, status.update)
            began = time.monotonic()
            with LocalMesh(mesh, ready_seconds=ready_seconds, on_ready=on_ready) as running:
                status.stop()
                console.print(f"All ready after {time.monotonic() - began:.1f} s.\n")
                print_welcome(console, mesh)
                try:
                    _watch(running)
                finally:
                    status.start()
                    status.update("Stopping")
    except KeyboardInterrupt:
        console.print("Stopped.")
    except (AlreadyRunning, PortsTaken, StartFailed) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None


@app.command("status")
def print_status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False) -> None:
    """Prints how every process and every group stands. Ends with 1 unless all are ready."""
    status = look(Mesh.load())
    if as_json:
        console.print(status.text(), markup=False)
    else:
        show(console, status)
    raise typer.Exit(0 if status.well else 1)


def _reporter(mesh: Mesh, update: Callable[[str], None]) -> Callable[[Process, float], None]:
    """Returns what prints a line for each process that is ready and shows whom one still waits for."""
    waiting = [process.name for process in processes(mesh)]

    def on_ready(process: Process, seconds: float) -> None:
        waiting.remove(process.name)
        update(f"Waiting for {', '.join(waiting)}")
        addresses = "  ".join(mesh.addresses[name] for name in process.listens)
        console.print(f"[green]✓[/] {process.name:<15}{seconds:5.1f} s   {addresses}")

    return on_ready


def _watch(running: LocalMesh) -> None:
    """Reports each process that ended and was started again, until Ctrl-C."""
    pids = running.pids()
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            now = running.pids()
        except OSError as error:
            raise StartFailed(f"supervisord is gone ({error}); its processes are stopped") from error
        for name, pid in now.items():
            if name in pids and pids[name] != pid:
                log = running.log_path(name)
                console.print(f"[yellow]![/] {name} ended and was started again as pid {pid}; see {log}")
        pids |= now


if __name__ == "__main__":
    app()
