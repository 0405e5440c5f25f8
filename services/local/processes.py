"""Every process of a mesh on this machine: its command, where it listens, and how one sees that it is ready."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from services.local import probes, redis_server
from services.mesh import Mesh
from services.runtime.redis_client import is_own

GROUPS = ("redis", "envoy", "services", "gateway")
"""Processes of a group stop together, the last group first: no new work, then the work at hand, then what it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of the mesh."""

    name: str
    group: str
    command: tuple[str, ...]
    ready: probes.Probe
    listens: tuple[str, ...] = ()
    """Names on the map of its addresses."""


def processes(mesh: Mesh) -> tuple[Process, ...]:
    """Returns the processes, in the order they are started in."""
    return (
        *([_redis(mesh)] if is_own(mesh) else []),
        Process(
            name="envoy",
            group="envoy",
            command=_python("envoy", "serve"),
            ready=probes.answers_ok("envoy-admin", "/ready", "envoy-public", "envoy-internal"),
            listens=("envoy-public", "envoy-internal", "envoy-admin"),
        ),
        # Signing in needs the user service first; trading answers calls and reacts in processes of their own.
        _service("user", listens=("user", "user-jwks")),
        _service("trading", name="trading-serve", role="serve"),
        _reactions("trading"),
        _service("gamification"),
        _service("social"),
        _service("financial"),
        _service("nft"),
        _service("analytics"),
        Process(
            name="bridge",
            group="services",
            command=_python("bridge", "serve"),
            ready=probes.serving("bridge"),
            listens=("bridge",),
        ),
        Process(
            name="gateway",
            group="gateway",
            command=_python("gateway"),
            ready=probes.answers_ok("gateway", "/readyz"),
            listens=("gateway",),
        ),
    )


def _redis(mesh: Mesh) -> Process:
    return Process(
        name="redis",
        group="redis",
        command=redis_server.command(mesh),
        ready=probes.redis_answers,
        listens=("redis",),
    )


def _service(service: str, *, name: str = "", role: str = "both", listens: Sequence[str] = ()) -> Process:
    return Process(
        name=name or service,
        group="services",
        command=_python("services", "serve", service, "--role", role),
        ready=probes.serving(service),
        listens=tuple(listens) or (service,),
    )


def _reactions(service: str) -> Process:
    return Process(
        name=f"{service}-react",
        group="services",
        command=_python("services", "serve", service, "--role", "react"),
        ready=probes.consuming(service),
    )


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
