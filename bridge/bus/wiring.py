"""Makes the bus's face of a mesh, with its real adapters."""

from collections import ChainMap
from collections.abc import Callable, Sequence

from redis.asyncio import Redis

from bridge.bus.actions import open_store
from bridge.bus.api import BusApi
from bridge.bus.history import History
from bridge.bus.owners import Owners
from bridge.outbox_client import OutboxClient
from bridge.publisher import Publisher
from services.mesh import SERVICES, Mesh
from services.runtime.door import Door


def build_bus(
    mesh: Mesh, redis: Redis, token: Callable[[], str], publishers: Sequence[Publisher], outboxes: OutboxClient
) -> BusApi:
    """Makes it for a running bridge. Opens its database; connects to nothing yet."""
    services = [service.name for service in SERVICES]
    return BusApi(
        redis,
        open_store(mesh.database("bridge")),
        Owners(Door.of(mesh, "bridge"), token, services),
        History(redis, outboxes),
        lambda: ChainMap(*(publisher.stopped for publisher in publishers)),
    )
