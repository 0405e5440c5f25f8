"""Serves BusService in process, over a Redis of the test and services of the test."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from redis.asyncio import Redis

from bridge.bus.actions import open_store
from bridge.bus.api import BusApi
from bridge.bus.history import History
from bridge.bus.owners import Owners
from bridge.outbox_client import OutboxClient
from services.mesh import HOST
from services.runtime.clock import Clock, wall_clock
from services.runtime.door import Door
from services.runtime.server import Server

NOWHERE = f"{HOST}:1"
"""An address that nothing listens on."""


@asynccontextmanager
async def serving_bus(
    folder: Path,
    redis: Redis | None = None,
    *,
    trading: str = NOWHERE,
    stopped: Mapping[str, str] | None = None,
    clock: Clock = wall_clock,
) -> AsyncIterator[grpc.aio.Channel]:
    """Serves it and yields a channel to it.

    `trading` is the address of the only other service, in place of Envoy.
    """
    store = open_store(folder / "bridge" / "bridge.db", clock=clock)
    owners = Owners(Door(trading), lambda: "token", ["trading"])
    own_redis = Redis.from_url(f"redis://{NOWHERE}/0")
    outboxes = OutboxClient(Door(trading), lambda: "token")
    api = BusApi(redis or own_redis, store, owners, History(redis or own_redis, outboxes), lambda: stopped or {})
    server = Server(f"{HOST}:0", {"astra.bridge.v1.BusService": api})
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield channel
    finally:
        api.stop()
        await server.stop()
        await api.close()
        await outboxes.close()
        await own_redis.aclose()
