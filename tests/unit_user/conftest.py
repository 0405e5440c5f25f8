"""The user domain in process: on a clock moved by hand, with hashing that costs nothing."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from astra.user.v1.user_service_pb2_grpc import UserServiceStub

from services import user
from services.domain import Domain
from services.mesh import Mesh
from services.user.passwords import Passwords
from tests.serving import serving
from tests.unit_user.users import CHEAP, HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh.at(tmp_path, free_ports=True)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    cheap = Passwords(CHEAP)
    yield cheap
    cheap.close()


@pytest.fixture
async def channel(domain: Domain) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(domain) as channel:
        yield channel


@pytest.fixture
async def domain(mesh: Mesh, clock: HandClock, passwords: Passwords) -> Domain:
    return user.build(mesh, clock=clock, passwords=passwords)


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    return UserServiceStub(channel)
