"""How fast a replay is: through the bus's own reader and clients, to a service with a group, without Envoy in between.

The service is a process of its own: `python -m tests.bench.bus_replay DATABASE` says its address on standard output.
"""

import sys
import time
from contextlib import aclosing
from pathlib import Path

import uvloop
from astra.bridge.v1 import bus_service_pb2 as pb
from astra.gamification.v1.events_pb2 import XpGained
from astra.trading.v1.events_pb2 import TradeExecuted
from redis.asyncio import Redis

from bridge.bus.group_api import GroupApi
from bridge.bus.history import History
from bridge.bus.owners import Owners
from bridge.bus.replay import RATE_MAX, Replay
from bridge.bus.stopping import Stopping
from bridge.groups import Group
from bridge.outbox_client import OutboxClient
from services.mesh import HOST
from services.runtime import server
from services.runtime.context import Caller
from services.runtime.door import Door
from services.runtime.redis_connection import PackedConnection
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.bench.bus_sides import SCHEMA, say, stop_event
from tests.bench.processes import cpu_seconds
from tests.bench.sides import Side
from tests.chaos.points import patch

GROUP = "bench"


def replayed(folder: Path, redis_url: str) -> dict[str, tuple[float, float]]:
    """Replays the stream to a group that has had none of it, and again.

    Returns events per second and CPU microseconds per event, of both processes, by what was done.
    """
    owner = Side(sys.executable, "-m", "tests.bench.bus_replay", str(folder / "replay.db"))
    address, found = owner.next()["address"], {}
    for name in ("replay, applied", "replay, applied before"):
        before, used = cpu_seconds([owner.pid]), time.process_time()
        count, seconds = uvloop.run(_replay(redis_url, address))
        cpu = cpu_seconds([owner.pid]) - before + time.process_time() - used
        found[name] = (count / seconds, cpu / count * 1e6)
    owner.stop()
    return found


async def _replay(redis_url: str, address: str) -> tuple[int, float]:
    redis: Redis = Redis.from_url(redis_url, socket_timeout=None, connection_class=PackedConnection)
    door = Door(address)
    owners, outboxes = Owners(door, lambda: "bench", ["gamification"]), OutboxClient(door, lambda: "bench")
    request = pb.ReplayEventsRequest(group=GROUP, rate_limit=RATE_MAX)
    replay = Replay(request, History(redis, outboxes), owners, Stopping())
    await owners.find(GROUP)  # connects
    begun = time.monotonic()
    async with aclosing(replay.run()) as responses:
        async for response in responses:
            last = response
    seconds = time.monotonic() - begun
    assert last.done == last.total == last.applied + last.already_applied
    await owners.close()
    await outboxes.close()
    await redis.aclose()
    return last.total, seconds


def effect(tx: Tx, event: TradeExecuted) -> None:
    tx.execute("INSERT INTO effect VALUES (?)", event.trade_id)
    tx.record(XpGained(user_id=event.user_id, xp=10))


async def serve(database: str) -> None:
    """Serves a group, to a caller that Envoy would have let in."""
    stop = stop_event()
    patch(server, caller_from=lambda metadata: Caller(service="service:bridge"))
    store = Store(Path(database), domain="gamification", schema=SCHEMA)
    group = Group(name=GROUP, consumers=1, reactions={TradeExecuted: effect})
    serving = server.Server(f"{HOST}:0", {"astra.event.v1.GroupService": GroupApi(store, [group])})
    await serving.start()
    say(address=serving.address)
    await stop.wait()
    await serving.stop()
    await store.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
