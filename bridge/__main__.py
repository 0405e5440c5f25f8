"""The bridge's command line: the bridge itself, and the operator's commands."""

from typing import Annotated

import typer
import uvloop

from bridge import process
from bridge.commands import actions, dead_letters, replay, status, tail, trace
from services.mesh import Mesh
from services.runtime.logs import configure_logs

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def main() -> None:
    """Brings the events of every service from its outbox to Redis; shows and mends the bus."""


@app.command()
def serve(
    address: Annotated[str | None, typer.Option(help="host:port of the health checks; else the mesh's own.")] = None,
) -> None:
    """Publishes until SIGTERM."""
    configure_logs()
    uvloop.run(process.serve(Mesh.load(), address=address))


for command in (status.status, tail.tail, trace.trace, replay.replay, actions.actions):
    app.command()(command)
app.add_typer(dead_letters.app, name="dead-letters")

if __name__ == "__main__":
    app()
