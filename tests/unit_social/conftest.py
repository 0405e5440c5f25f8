"""Social on a database of its own, with a clock to move."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from astra.social.v1 import social_service_pb2 as pb
from astra.social.v1.social_profile_pb2 import SocialProfile
from astra.social.v1.social_service_pb2_grpc import SocialServiceStub

from services import social
from services.domain import Domain
from services.mesh import Mesh
from tests.serving import as_user, serving

START_MS = 1_800_000_000_000


@dataclass
class Circle:
    """The domain, a channel to it, and the time it reads."""

    domain: Domain
    channel: grpc.aio.Channel
    now: list[int] = field(default_factory=list)

    @property
    def stub(self) -> SocialServiceStub:
        return SocialServiceStub(self.channel)

    async def profile(self, user_id: str) -> SocialProfile:
        request = pb.GetSocialProfileRequest(user_id=user_id)
        response = await self.stub.GetSocialProfile(request, metadata=as_user("reader"))
        assert isinstance(response.social_profile, SocialProfile)
        return response.social_profile


@pytest.fixture
async def circle(tmp_path: Path) -> AsyncIterator[Circle]:
    now = [START_MS]
    domain = social.build(Mesh.at(tmp_path), clock=lambda: now[0])
    async with serving(domain) as channel:
        yield Circle(domain, channel, now)
