"""THE MAP: which services there are, and where each process of a mesh listens and keeps its things.

What can be derived from a line here or from the protos is derived: Envoy's routes and clusters, REST routes, stream
names, consumer groups. Adding a domain adds one line to `SERVICES`.
"""

import ipaddress
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
ANY_HOST = "0.0.0.0"  # noqa: S104 - in a container, where only Envoy is let in


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One domain: its folder, proto package `astra.<name>.v1`, compose entry and Envoy cluster have this name."""

    name: str
    port: int
    """Default port of its gRPC server."""


SERVICES = (
    Service(name="trading", port=10011),
    Service(name="gamification", port=10012),
    Service(name="social", port=10013),
    Service(name="financial", port=10014),
    Service(name="nft", port=10015),
    Service(name="user", port=10016),
    Service(name="analytics", port=10017),
)

REPORTING = ("envoy", "discovery", "ratelimit", "bridge", "gateway", *(service.name for service in SERVICES))
"""Processes that tell of themselves by HTTP: `/metrics`, `/healthz`, `/readyz`, at `<process>-metrics` on the map.
What only reacts, further replicas and workers have free ports. All of them are in `targets_dir`."""

METRICS_ADDRESS = "ASTRA_METRICS_ADDRESS"
"""Environment variable with the `host:port` of a process that tells of itself elsewhere than the map says."""

PORTS: Mapping[str, int] = {
    "gateway": 8080,
    "envoy-public": 10000,
    "envoy-internal": 10001,
    "envoy-admin": 9901,
    "redis": 16379,
    "bridge": 10020,
    "user-jwks": 10030,
    "ratelimit": 10040,
    **{service.name: service.port for service in SERVICES},
    **{f"{process}-metrics": 11000 + number for number, process in enumerate(REPORTING, start=1)},
}
"""Default port of everything that listens. `user-jwks` is the user service's HTTP listener for its public keys."""

LIMITS: Mapping[str, int] = {
    "trades": 100,
    "profile_reads": 200,
    "feed": 50,
    "registration": 10,
    "login": 10,
    "login_of_username": 10,
}
"""Calls a minute and caller. Which rpcs a limit is of says `envoy/limits.py`; the last is the user service's own."""

LIMITS_TIMES = "ASTRA_LIMITS_TIMES"
"""Environment variable that raises all limits of a new mesh by a factor, for tests and load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """One running mesh: addresses and folders. Every process reads the same `mesh.json`."""

    state_dir: Path
    """Folder of databases, keys, rendered configuration and logs."""
    redis_url: str
    """URL of the Redis the streams are in. Only the URL of one's own Redis may name a user and a password."""
    addresses: Mapping[str, str] = field(
        default_factory=lambda: {name: f"{HOST}:{port}" for name, port in PORTS.items()}
    )
    """`host:port` by the names of `PORTS`."""
    limits: Mapping[str, int] = field(default_factory=lambda: LIMITS)
    """Calls a minute by the names of `LIMITS`."""
    mtls: bool = False
    """Whether Envoy and the services know each other by certificates. Whole meshes do; parts may talk in plain text."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call Envoy's public listener by gRPC-Web, such as `https://app.example.com`."""
    registry: bool = False
    """Whether services whose address is a name are found by the registry, as in containers, rather than by DNS."""

    def host(self, name: str) -> str:
        return self.addresses[name].rpartition(":")[0]

    def port(self, name: str) -> int:
        return int(self.addresses[name].rpartition(":")[2])

    def listens(self, name: str) -> str:
        """Returns what to bind. A name is how others reach this container: inside it every address is meant."""
        return self.addresses[name] if is_ip(self.host(name)) else f"{ANY_HOST}:{self.port(name)}"

    def with_replica(self, service: str) -> "Mesh":
        """Returns a mesh with one more server of a service, `<service>-2`, on a free port of this machine."""
        number = 2
        while f"{service}-{number}" in self.addresses:
            number += 1
        (port,) = _free_ports(1)
        return replace(self, addresses={**self.addresses, f"{service}-{number}": f"{HOST}:{port}"})

    def replicas(self, service: str) -> list[str]:
        """Returns the names of a service's further servers."""
        return [name for name in self.addresses if name.rpartition("-")[0] == service and name not in PORTS]

    def database(self, service: str) -> Path:
        """Path of a service's SQLite file, in a folder of its own because the wake-up sockets stand beside it."""
        return self.state_dir / "db" / service / f"{service}.db"

    @property
    def targets_dir(self) -> Path:
        """Folder in which each process says where it tells of itself, for Prometheus (file_sd)."""
        return self.state_dir / "targets"

    @property
    def keys_dir(self) -> Path:
        """Folder of the private keys, `<process>.pem`, and of `services.jwks.json` with the public ones."""
        return self.state_dir / "keys"

    @property
    def tls_dir(self) -> Path:
        """Folder of the certificates, `<name>.pem`, each with its private key."""
        return self.keys_dir / "tls"

    def save(self) -> Path:
        """Writes `mesh.json` into the state folder and returns its path."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        path = self.state_dir / "mesh.json"
        path.write_text(json.dumps(self.as_json(), indent=2) + "\n")
        return path

    def as_json(self) -> dict[str, object]:
        """Returns what stands in a `mesh.json`."""
        return {**asdict(self), "state_dir": str(self.state_dir)}

    @classmethod
    def load(cls, path: Path | None = None) -> "Mesh":
        """Reads a `mesh.json`: the given one, else `$ASTRA_MESH`, else `var/mesh.json`."""
        path = path or Path(os.environ.get("ASTRA_MESH", ROOT / "var" / "mesh.json"))
        try:
            read = json.loads(path.read_text())
        except FileNotFoundError:
            raise SystemExit(f"{path}: no such mesh; `make run` writes it, or set ASTRA_MESH") from None
        return cls(
            state_dir=Path(read["state_dir"]),
            redis_url=read["redis_url"],
            addresses=read["addresses"],
            limits=read["limits"],
            mtls=read["mtls"],
            cors_origins=tuple(read["cors_origins"]),
            registry=read["registry"],
        )

    @classmethod
    def at(cls, state_dir: Path, *, redis_url: str | None = None, free_ports: bool = False) -> "Mesh":
        """Describes a mesh of this machine: on the fixed ports, or on free ones; on a Redis of its own unless named.

        $ASTRA_LIMITS_TIMES raises its limits; $ASTRA_CORS_ORIGINS names origins, with spaces between them.
        """
        times = int(os.environ.get(LIMITS_TIMES, "1"))
        ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True)) if free_ports else PORTS
        addresses = {name: f"{HOST}:{port}" for name, port in ports.items()}
        return cls(
            state_dir=state_dir.resolve(),
            redis_url=redis_url or f"redis://{addresses['redis']}/0",
            addresses=addresses,
            limits={name: count * times for name, count in LIMITS.items()},
            cors_origins=tuple(os.environ.get("ASTRA_CORS_ORIGINS", "").split()),
        )


def is_ip(host: str) -> bool:
    """Tells an IP address from a name that DNS has to resolve, such as a container's."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    """Returns ports that are free now, all different because all are held until the last is found."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for held in sockets:
            held.bind((HOST, 0))
        return [held.getsockname()[1] for held in sockets]
    finally:
        for held in sockets:
            held.close()
