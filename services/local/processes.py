"""Every process of a mesh on this machine: its command, where it listens, and how one sees that it is ready."""

import sys
from dataclasses import dataclass

from services.local import probes, redis_server
from services.mesh import SERVICES, Mesh
from services.runtime.redis_client import is_own

GROUPS = ("redis", "envoy", "services", "gateway")
"""Processes of a group stop together, the last group first: no new work, then the work at hand, then what it needs."""

APART = frozenset({"trading"})
"""Domains whose calls and reactions have processes of their own here; the others do both in one."""
FURTHER_LISTENERS = {"user": ("user-jwks",)}
"""What a domain listens on beside its gRPC server, as names on the map."""


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
            listens=("envoy-public", "envoy-internal", "envoy-admin", "envoy-metrics"),
        ),
        Process(
            name="ratelimit",
            group="envoy",
            command=_python("envoy", "ratelimit"),
            ready=probes.serving("ratelimit"),
            listens=("ratelimit", "ratelimit-metrics"),
        ),
        Process(
            name="discovery",
            group="envoy",
            command=_python("envoy", "discover"),
            ready=probes.answers_ok("discovery-metrics", "/readyz"),
            listens=("discovery-metrics",),
        ),
        *(process for service in SERVICES for process in _service(mesh, service.name)),
        Process(
            name="bridge",
            group="services",
            command=_python("bridge", "serve"),
            ready=probes.serving("bridge"),
            listens=("bridge", "bridge-metrics"),
        ),
        Process(
            name="gateway",
            group="gateway",
            command=_python("gateway"),
            ready=probes.answers_ok("gateway", "/readyz"),
            listens=("gateway", "gateway-metrics"),
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


def _service(mesh: Mesh, service: str) -> tuple[Process, ...]:
    """Returns the processes of a domain: one, or one to serve and one to react; and its further replicas."""
    apart = service in APART
    serves = Process(
        name=f"{service}-serve" if apart else service,
        group="services",
        command=_python("services", "serve", service, "--role", "serve" if apart else "both"),
        ready=probes.serving(service),
        listens=(service, f"{service}-metrics", *FURTHER_LISTENERS.get(service, ())),
    )
    replicas = (_replica(mesh, service, name) for name in mesh.replicas(service))
    return (serves, *([_reactions(service)] if apart else []), *replicas)


def _replica(mesh: Mesh, service: str, name: str) -> Process:
    return Process(
        name=name,
        group="services",
        command=_python("services", "serve", service, "--role", "serve", "--address", mesh.addresses[name]),
        ready=probes.serving(name),
        listens=(name,),
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
