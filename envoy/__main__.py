"""The command line: `render`, `check` and `serve`."""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from rich.console import Console

from envoy import discovery, ratelimit
from envoy.binary import command, environment_of_envoy, find_binary, validate
from envoy.render import Rendering, render, service_keys_of
from services.mesh import Mesh
from services.runtime.logs import configure_logs
from services.telemetry.targets import Target

app = typer.Typer(help="Envoy's configuration, and Envoy itself.", no_args_is_help=True, add_completion=False)
console = Console(soft_wrap=True, highlight=False)


@app.command("render")
def write_configuration() -> None:
    """Writes the configuration of the mesh and prints the paths."""
    for path in _written(Mesh.load()).files:
        console.print(path, markup=False)


@app.command()
def check() -> None:
    """Asks the real Envoy whether it accepts the configuration; needs no running mesh, and changes none."""
    with tempfile.TemporaryDirectory() as folder:
        mesh = replace(_mesh_or_default(), state_dir=Path(folder))
        rendering = render(mesh, _throwaway_keys())
        rendering.write()
        if refusal := validate(rendering, find_binary()):
            console.print(f"Envoy refuses the configuration:\n{refusal}", markup=False, style="red")
            raise typer.Exit(1)
    console.print(f"Envoy accepts the configuration ({len(rendering.files)} files)", style="green")


@app.command("ratelimit")
def serve_limits() -> None:
    """Counts, for all Envoys, the calls of the limits that hold over several; until SIGTERM."""
    configure_logs()
    uvloop.run(ratelimit.serve(Mesh.load()))


@app.command()
def discover() -> None:
    """Keeps the endpoint files as the registry says, until SIGTERM."""
    configure_logs()
    uvloop.run(discovery.serve(Mesh.load()))


@app.command()
def serve(
    log_path: Annotated[Path | None, typer.Option(help="File for Envoy's own log; stderr if not given.")] = None,
) -> None:
    """Writes the configuration and becomes Envoy, under the same process id."""
    binary = find_binary()
    mesh = Mesh.load()
    rendering = _written(mesh)
    Target(process="envoy", service="envoy", address=mesh.addresses["envoy-metrics"]).announce(mesh)
    os.execve(binary, command(binary, rendering.bootstrap, log_path=log_path), environment_of_envoy())  # noqa: S606


def _written(mesh: Mesh) -> Rendering:
    rendering = render(mesh, service_keys_of(mesh))
    rendering.write()
    return rendering


def _mesh_or_default() -> Mesh:
    try:
        return Mesh.load()
    except SystemExit:
        return Mesh.at(Path("var"))


def _throwaway_keys() -> str:
    """Returns a key of the right kind: whether the configuration is sound does not depend on which."""
    public = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
    return json.dumps({"keys": [{**public, "kid": "check", "alg": "ES256", "use": "sig"}]})


if __name__ == "__main__":
    app()
