"""The mesh in containers: what `compose.yaml` runs first, once, before everything else.

It makes the map with the containers' names for addresses, and every secret as a file in a volume. What is there stays.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from services.mesh import PORTS, SERVICES, Mesh
from services.runtime.certificates import CALLERS_CA, MEMBERS_CA, SERVICES_CA, authority_key_path, make_certificates
from services.runtime.credentials import make_credentials, password_path, read_password, write_private
from services.runtime.redis_acl import ROLES, acl_file
from services.telemetry.targets import Target

STATE_DIR = Path("/var/lib/astra")
REDIS_PORT = 6379
FOLDERS = ("configuration", "keys", "authorities", "envoy", "log", "redis", "redis-users", "targets")
"""Folders of the state, nearly each a volume; every database has one more."""

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def main() -> None:
    """Makes what the containers of a mesh share."""


@app.command()
def folders(state_dir: Annotated[Path, typer.Option(help="Folder of the state.")] = STATE_DIR) -> None:
    """Makes the folders, so that volumes mounted there belong to who made them; for the image."""
    for name in (*FOLDERS, *(f"db/{owner}" for owner in (*(service.name for service in SERVICES), "bridge"))):
        # Whoever scrapes is another user, and reads addresses alone.
        (state_dir / name).mkdir(parents=True, exist_ok=True, mode=0o755 if name == "targets" else 0o700)


@app.command()
def prepare(state_dir: Annotated[Path, typer.Option(help="Folder of the state.")] = STATE_DIR) -> None:
    """Makes the map, keys, certificates, passwords and Redis' users."""
    mesh = container_mesh(state_dir)
    make_credentials(mesh)
    make_certificates(mesh)
    for authority in (SERVICES_CA, CALLERS_CA, MEMBERS_CA):
        _set_apart(authority_key_path(mesh, authority), state_dir / "authorities")
    users = state_dir / "redis-users"
    write_private(users / "users.acl", acl_file({role: read_password(mesh.keys_dir, role) for role in ROLES}).encode())
    # For the health check of Redis, whose container has no other secret.
    write_private(users / "reader.password", password_path(mesh.keys_dir, "reader").read_bytes())
    path = state_dir / "configuration" / "mesh.json"
    write_private(path, json.dumps(mesh.as_json(), indent=2).encode() + b"\n")
    Target(process="envoy", service="envoy", address=mesh.addresses["envoy-metrics"]).announce(mesh)
    typer.echo(f"{path} and its keys are in place")


def container_mesh(state_dir: Path = STATE_DIR) -> Mesh:
    """Returns the map of a mesh in containers: everything listens at the name of its container, on its own port."""
    addresses = {name: f"{container_of(name)}:{port}" for name, port in PORTS.items()}
    addresses["redis"] = f"redis:{REDIS_PORT}"
    here = Mesh.at(state_dir)
    return replace(here, addresses=addresses, redis_url=f"redis://{addresses['redis']}/0", mtls=True, registry=True)


def container_of(name: str) -> str:
    """Returns the container of something on the map: `user` of `user-jwks`, `envoy` of `envoy-public`."""
    return name.partition("-")[0]


def _set_apart(key: Path, folder: Path) -> None:
    """Moves an authority's key to a volume that no other container has; a link tells where."""
    if not key.is_symlink():
        write_private(folder / key.name, key.read_bytes())
        key.unlink()
        os.symlink(folder / key.name, key)


if __name__ == "__main__":
    app()
