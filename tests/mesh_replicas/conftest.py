"""A mesh with several replicas of two services; as few other processes as they need."""

import json
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import grpc
import pytest
import pytest_asyncio

from services.local import LocalMesh
from services.local.processes import processes
from services.mesh import ROOT, Mesh
from services.runtime.credentials import ServiceToken
from tests.mesh_replicas.figures import FIGURES
from tests.mesh_replicas.traffic import Traffic, channel_to
from tests.unit_envoy.door import until

TRADING = ("trading-serve", "trading-2", "trading-3")
GAMIFICATION = ("gamification", "gamification-2")
NEEDED = {"redis", "envoy", "discovery", "bridge", *TRADING, *GAMIFICATION}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells the figures."""
    if not FIGURES:
        return
    terminalreporter.section("mesh-test")
    for name, value in FIGURES.items():
        terminalreporter.write_line(f"{value:12,.2f}  {name}")
    path = ROOT / "build" / "bench" / "mesh-test.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(FIGURES, indent=2) + "\n")


@dataclass
class Replicas:
    """The mesh, and what a test does with it."""

    running: LocalMesh
    channel: grpc.aio.Channel
    token: Callable[[], str]

    @property
    def mesh(self) -> Mesh:
        return self.running.mesh

    def traffic(self) -> Traffic:
        return Traffic(self.channel, self.token)

    def hosts(self, cluster: str) -> dict[str, str]:
        """Returns the health of the hosts that Envoy knows of a service, by address; `healthy` takes calls."""
        url = f"http://{self.mesh.addresses['envoy-admin']}/clusters?format=json"
        with urllib.request.urlopen(url, timeout=5) as answer:
            statuses = json.load(answer)["cluster_statuses"]
        (status,) = [one for one in statuses if one["name"] == cluster]
        found = {}
        for host in status.get("host_statuses", ()):
            socket = host["address"]["socket_address"]
            health = host["health_status"]
            bad = [name for name, value in health.items() if name != "eds_health_status" and value]
            found[f"{socket['address']}:{socket['port_value']}"] = ",".join(bad) or "healthy"
        return found

    async def take_calls(self, cluster: str, *addresses: str) -> None:
        """Waits until Envoy sends calls to exactly these addresses."""

        async def as_wanted() -> bool:
            return self.hosts(cluster) == dict.fromkeys(addresses, "healthy")

        # On a very busy machine one may have been ejected, for 30 s.
        await until(as_wanted, seconds=45, every_seconds=0.1)

    def addresses(self, *names: str) -> list[str]:
        """Returns the addresses of processes."""
        return [self.mesh.addresses[name.removesuffix("-serve")] for name in names]


@pytest.fixture(scope="session")
def running_replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    mesh = Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True)
    for service in ("trading", "trading", "gamification"):
        mesh = mesh.with_replica(service)
    listed = [process for process in processes(mesh) if process.name in NEEDED]
    assert {process.name for process in listed} == NEEDED
    with LocalMesh(mesh, processes=listed) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def replicas(running_replicas: LocalMesh) -> AsyncIterator[Replicas]:
    mesh = running_replicas.mesh
    token = ServiceToken(mesh.keys_dir, "operator")
    async with channel_to(mesh) as channel:
        found = Replicas(running_replicas, channel, token.bearer)
        await found.take_calls("trading", *found.addresses(*TRADING))
        await found.take_calls("gamification", *found.addresses(*GAMIFICATION))
        yield found
