"""The services' command line."""

import asyncio
import os
from typing import Annotated

import typer
import uvloop

from services import process
from services.mesh import SERVICES, Mesh
from services.runtime.logs import configure_logs

app = typer.Typer(add_completion=False, no_args_is_help=True)
NAMES = [service.name for service in SERVICES]


@app.callback()
def main() -> None:
    """Runs the services of the mesh, and what is done to them from this machine alone."""


@app.command()
def serve(
    names: Annotated[list[str], typer.Argument(help=f"Domains to run in this process: {', '.join(NAMES)}.")],
    role: Annotated[str, typer.Option(help="serve (calls), react (consumer groups), or both.")] = "both",
    address: Annotated[str, typer.Option(help="ip:port of a further replica of one domain; else the map's.")] = "",
) -> None:
    """Runs domains until SIGTERM."""
    if unknown := [name for name in names if name not in NAMES]:
        raise typer.BadParameter(f"{', '.join(unknown)}: not on the map; there are {', '.join(NAMES)}")
    if role not in process.ROLES:
        raise typer.BadParameter(f"{role}: a role is one of {', '.join(process.ROLES)}")
    if address and len(names) > 1:
        raise typer.BadParameter("--address is for one domain: each needs an address of its own")
    configure_logs()
    uvloop.run(process.run(Mesh.load(), names, process.ROLES[role], address=address))


@app.command()
def make_admin(
    username: Annotated[str, typer.Argument(help="The user to make an admin; registered if need be.")],
) -> None:
    """Makes a user an admin; no rpc does that. The password comes from ASTRA_ADMIN_PASSWORD, or is asked for."""
    from services.user.admin import make_admin_of

    password = os.environ.get("ASTRA_ADMIN_PASSWORD") or typer.prompt(
        "Password", hide_input=True, confirmation_prompt=True
    )
    configure_logs()
    typer.echo(asyncio.run(make_admin_of(Mesh.load(), username, password)))


@app.command()
def rotate_user_keys() -> None:
    """Makes a new key for users' tokens. Tokens signed with the old one stay good until they end."""
    from services.user.admin import rotate_user_keys_of

    configure_logs()
    typer.echo(asyncio.run(rotate_user_keys_of(Mesh.load())))


@app.command()
def redis_acl() -> None:
    """Prints the ACL file for a Redis of your own that REDIS_URL names with `?acl=roles`; it holds no password."""
    from services.runtime.credentials import make_credentials, read_password
    from services.runtime.redis_acl import ROLES, acl_file

    mesh = Mesh.load()
    make_credentials(mesh)
    typer.echo(acl_file({role: read_password(mesh.keys_dir, role) for role in ROLES}), nl=False)


@app.command()
def rotate_certificates() -> None:
    """Makes new certificates for Envoy and the services; they take them without a restart."""
    from services.runtime.certificates import issue

    issue(Mesh.load())
    typer.echo("New certificates are in place; each new connection uses them.")


@app.command()
def asyncapi() -> None:
    """Prints the AsyncAPI document of the bus: streams, events, and who publishes and reads them."""
    from services.asyncapi import document_of_the_mesh

    typer.echo(asyncio.run(document_of_the_mesh()).decode())


if __name__ == "__main__":
    app()
