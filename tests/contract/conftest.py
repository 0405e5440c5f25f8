"""The mesh under contract, what was called on it and what it published; the report is build/contract.json."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field

import pytest
import pytest_asyncio
from astra.bridge.v1.bus_pb2 import BusEvent

from services.mesh import ROOT
from tests.contract.deployment import Deployment, given
from tests.contract.provoking import provoke
from tests.contract.walk import Walk, walk_by_rest
from tests.contract.watching import Bus
from tests.flows.test_grpcurl import call_every_public_rpc, registered
from tests.story.rest import Session

REPORT = ROOT / "build" / "contract.json"


@dataclass
class Report:
    """What held, by name; a test adds a name when it has passed."""

    rpcs: list[str] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    outages: list[str] = field(default_factory=list)


@dataclass
class Played:
    """What was done with the mesh before anything is compared."""

    grpcurl_failures: dict[str, str]
    walk: Walk
    events: list[BusEvent]


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    report = Report()
    yield report
    counts = {name: len(set(held)) for name, held in asdict(report).items()}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"counts": counts, **asdict(report)}, indent=2) + "\n")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def deployment(request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    path = given()
    made = Deployment.of_file(path) if path else await Deployment.of_local(request.getfixturevalue("running"))
    async with made as deployment:
        yield deployment


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bus(deployment: Deployment) -> AsyncIterator[Bus]:
    bus = Bus(deployment)
    yield bus
    await bus.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def anyone(deployment: Deployment) -> Session:
    """A user of no standing."""
    return await deployment.rest.login(await registered(deployment))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def played(deployment: Deployment, bus: Bus) -> Played:
    """Calls every rpc by grpcurl and by REST, provokes what is left, and takes down what was published."""
    began = time.time()
    await provoke(deployment)
    failures = await call_every_public_rpc(deployment, deployment)
    walk = await walk_by_rest(deployment)
    await bus.settle()
    return Played(failures, walk, await bus.events_since(began))
