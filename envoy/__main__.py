"""The command line: the configuration, Envoy itself, and what stands beside it."""

import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from rich.console import Console

from envoy import discovery, ratelimit, restarter
from envoy.binary import command, epoch_of, find_binary, validate
from envoy.policy import Policy
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
        _refuse_what_envoy_refuses(rendering)
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
    """Writes the configuration and runs Envoy: SIGTERM lets it end its calls, `restart` (or SIGHUP) replaces it."""
    mesh, policy, binary = Mesh.load(), Policy(), find_binary()
    rendering = _written(mesh)
    Target(process="envoy", service="envoy", address=mesh.addresses["envoy-metrics"]).announce(mesh)
    settings = restarter.Settings(
        command=command(binary, rendering.bootstrap, log_path=log_path),
        refresh=[sys.executable, "-m", "envoy", "refresh"],
        admin=mesh.addresses["envoy-admin"],
        folder=str(rendering.bootstrap.parent),
        drain_seconds=policy.drain_seconds,
        handover_seconds=policy.handover_seconds,
        stop_seconds=policy.stop_seconds,
    )
    # As a script, isolated: it imports nothing of ours, and stays small.
    line = [sys.executable, "-I", restarter.__file__, json.dumps(asdict(settings))]
    os.execv(sys.executable, line)  # noqa: S606


@app.command()
def refresh() -> None:
    """Writes the configuration anew if the real Envoy accepts it; calls go on to where they go now."""
    mesh = Mesh.load()
    rendering = render(mesh, service_keys_of(mesh))
    _refuse_what_envoy_refuses(rendering)
    rendering.write(keep_endpoints=True)


@app.command()
def restart(
    within_seconds: Annotated[float, typer.Option(help="How long the new Envoy may take to be there.")] = 60,
) -> None:
    """Replaces the running Envoy by one with the configuration, and the binary, of now; no call fails by it."""
    mesh = Mesh.load()
    rendering = render(mesh, service_keys_of(mesh))
    _refuse_what_envoy_refuses(rendering)
    try:
        pid, before = int((rendering.bootstrap.parent / "serve.pid").read_text()), epoch_of(mesh)
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError) as error:
        console.print(f"no Envoy of this mesh runs here ({error}); `python -m envoy serve` starts one", style="red")
        raise typer.Exit(1) from error
    deadline = time.monotonic() + within_seconds
    while (now := epoch_of(mesh, or_else=before)) == before:
        if time.monotonic() > deadline:
            console.print(f"no new Envoy after {within_seconds:g} s; its log says why", style="red")
            raise typer.Exit(1)
        time.sleep(0.05)
    console.print(f"Envoy {now + 1} has taken over; the one before ends its calls", style="green")


def _written(mesh: Mesh) -> Rendering:
    rendering = render(mesh, service_keys_of(mesh))
    rendering.write()
    return rendering


def _refuse_what_envoy_refuses(rendering: Rendering) -> None:
    if refusal := validate(rendering, find_binary()):
        console.print(f"Envoy refuses the configuration:\n{refusal}", markup=False, style="red")
        raise typer.Exit(1)


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
