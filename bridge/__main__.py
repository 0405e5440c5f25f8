"""The bridge's command line."""

import asyncio
from typing import Annotated

import typer
import uvloop

from bridge import process, reconciling
from services.mesh import Mesh
from services.runtime.logs import configure_logs

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def main() -> None:
    """Brings the events of every service from its outbox to Redis."""


@app.command()
def serve(
    address: Annotated[str | None, typer.Option(help="host:port of the health checks; else the mesh's own.")] = None,
    insist: Annotated[
        bool, typer.Option("--insist", help="Take a Redis that evicts or does not persist; for development.")
    ] = False,
) -> None:
    """Publishes until SIGTERM. Refuses a Redis that may lose streams by itself."""
    configure_logs()
    uvloop.run(process.serve(Mesh.load(), address=address, insist=insist))


@app.command()
def reconcile(
    stream: Annotated[str, typer.Argument(help="Name of a stream that the bridge calls DIVERGED.")],
    take: Annotated[
        str, typer.Option(help="`outbox` or `stream`: whose history stands. Without it, both are shown.")
    ] = "",
) -> None:
    """Shows the two histories of a stream that diverged, and reconciles them the way you choose."""
    raise typer.Exit(asyncio.run(reconciling.run(Mesh.load(), stream, take)))


if __name__ == "__main__":
    app()
