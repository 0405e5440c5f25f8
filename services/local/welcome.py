"""What `make run` says once all is ready: the addresses, and commands that work as they stand."""

import os
import shlex
from pathlib import Path

from rich.console import Console

from services.mesh import ROOT, Mesh
from services.runtime.credentials import password_path
from services.runtime.redis_client import is_own

USER = '{"requestId":"hello-1","username":"ada","email":"ada@example.com","password":"correct horse"}'


def print_welcome(console: Console, mesh: Mesh) -> None:
    """Prints addresses, three commands to try, and how to make the first admin."""
    rest = f"http://{mesh.addresses['gateway']}"
    addresses = {
        "REST": rest,
        "gRPC": f"{mesh.addresses['envoy-public']} (reflection is on)",
        "Envoy admin": f"http://{mesh.addresses['envoy-admin']}",
        "Logs": _shown(mesh.state_dir / "log"),
    }
    if is_own(mesh):
        password = _shown(password_path(mesh.keys_dir, "reader"))
        addresses["Redis"] = f"{mesh.redis_url} (user reader, password in {password})"
    for what, where in addresses.items():
        console.print(f"{what:<13}{where}", markup=False)
    json = "-H 'content-type: application/json'"
    here = "" if mesh.state_dir == ROOT / "var" else f"ASTRA_MESH={shlex.quote(str(mesh.state_dir / 'mesh.json'))} "
    commands = [
        f".tools/bin/grpcurl -plaintext {mesh.addresses['envoy-public']} list",
        f"curl -s {rest}/v1/users {json} -d '{USER}'",
        f"curl -s {rest}/v1/markets/STRK/quote",
    ]
    console.print("\nTry:")
    for command in commands:
        console.print(f"  {command}", markup=False)
    console.print("\nThe first admin is made here, on this machine:")
    console.print(f"  {here}.venv/bin/python -m services make-admin USERNAME", markup=False)
    console.print("\nCtrl-C stops everything; the data stays.")


def _shown(path: Path) -> str:
    """Returns a path as one would type it from here."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
