"""Our sides of the bus benchmark, each in a process of its own; prints what it measured as one line of JSON.

`outbox` stands for a service, `publish` for the bridge and `consume` for a consumer group, with the real parts of each.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import uvloop
from astra.event.v1.outbox_service_pb2 import Cursor, TailRequest, TailResponse
from astra.gamification.v1.events_pb2 import XpGained
from astra.trading.v1.events_pb2 import TradeExecuted
from redis.asyncio import Redis

from bridge.append import last_id
from bridge.backoff import Backoff
from bridge.group_runner import run_group
from bridge.groups import Group, Reaction
from bridge.guards import Gate
from bridge.publisher import Publisher
from services import contracts
from services.runtime.clock import wall_clock
from services.runtime.delivery import Delivery
from services.runtime.inbox import Effect
from services.runtime.outbox_service import OutboxApi
from services.runtime.redis_connection import PackedConnection
from services.runtime.server import Server
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.chaos.points import patch
from tests.unit_bridge.polling import until

STREAM = contracts.stream_of(TradeExecuted)
EVENT = TradeExecuted(trade_id="t" * 24, user_id="user-1", symbol="STRK", battle_id="b" * 33)
"""300 bytes in its envelope."""
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (trade_id TEXT);"
CHUNK = 2_000
TAIL = "/astra.event.v1.OutboxService/Tail"


def say(**measured: object) -> None:
    print(json.dumps(measured), flush=True)


async def outbox(database: str, count: str, per_second: str = "0") -> None:
    """Serves an outbox: of `count` events at once, or recorded at a rate once somebody says go."""
    stop = stop_event()
    store = Store(Path(database), domain="trading")
    server = Server("127.0.0.1:0", {"astra.event.v1.OutboxService": OutboxApi(store)})
    await server.start()
    if rate := float(per_second):
        say(address=server.address)
        await asyncio.to_thread(sys.stdin.readline)
        say(at=await record_steadily(store, int(count), rate))
    else:
        for _ in range(int(count) // CHUNK):
            await store.write(lambda tx: [tx.record(EVENT) for _ in range(CHUNK)])
        size = len(store.read_now(lambda db: db.value("SELECT envelope FROM outbox LIMIT 1")))
        say(address=server.address, event_bytes=size)
    await stop.wait()
    store.wakeups.stop()
    await server.stop()
    await store.close()


async def record_steadily(store: Store, count: int, per_second: float) -> list[float]:
    """Records events at a rate. Returns when each was committed."""
    times, begun = [0.0] * count, time.monotonic()

    async def one(number: int) -> None:
        await store.write(lambda tx: tx.record(TradeExecuted(trade_id=str(number), user_id="u", battle_id="b" * 55)))
        times[number] = time.monotonic()

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            await asyncio.sleep(max(0.0, begun + number / per_second - time.monotonic()))
            tasks.create_task(one(number))
    return times


async def publish(redis_url: str, address: str, count: str) -> None:
    """Takes an outbox to its stream as the bridge does, without Envoy in between; `0` goes on until stopped."""
    redis: Redis = Redis.from_url(redis_url, socket_timeout=None, connection_class=PackedConnection)
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        call: Any = channel.unary_stream(
            TAIL, request_serializer=TailRequest.SerializeToString, response_deserializer=TailResponse.FromString
        )

        async def tail(cursors: Mapping[str, str]) -> AsyncGenerator[TailResponse, None]:
            request = TailRequest(cursors=[Cursor(stream=stream, id=id_) for stream, id_ in cursors.items()])
            async for response in call(request, metadata=(("x-astra-service", "service:bridge"),)):
                yield response

        backoff = Backoff(0.05, 1.0, lambda: 0.0)
        publisher = Publisher(
            "trading", streams=[STREAM], tail=tail, redis=redis, backoff=backoff, gate=Gate(insist=True)
        )
        await channel.channel_ready()

        async def written() -> bool:
            return (await last_id(redis, STREAM)).endswith(f"-{count}")

        begun, used = time.monotonic(), time.process_time()
        running = asyncio.create_task(publisher.run())
        if int(count):
            await until(written, "the last append", 60)
            say(seconds=time.monotonic() - begun, cpu_seconds=time.process_time() - used)
        else:
            await stop_event().wait()
        running.cancel()
        await asyncio.wait([running])
    await redis.aclose()


class NoOperation:
    """A store that does nothing with what was decoded for it."""

    domain = "gamification"

    def __init__(self, note: Callable[[Any], None]) -> None:
        self._note = note

    async def react_all(self, group: str, given: Sequence[tuple[Delivery, Reaction]]) -> list[Effect]:
        for delivery, _ in given:
            self._note(delivery.event)
        return [True] * len(given)

    async def park(self, group: str, stream: str, ordinal: int) -> None:
        raise AssertionError("nothing fails here")


async def consume(redis_url: str, count: str, database: str = "") -> None:
    """Runs a group until it has had `count` events: with a no-op, or with effect, inbox and outbox committed."""
    redis: Redis = Redis.from_url(redis_url, socket_timeout=None, connection_class=PackedConnection)
    stop, times, left = asyncio.Event(), {}, int(count)

    def note(event: TradeExecuted) -> None:
        nonlocal left
        times[event.trade_id] = time.monotonic()
        left -= 1
        if left == 0:
            stop.set()

    def effect(tx: Tx, event: TradeExecuted) -> None:
        tx.execute("INSERT INTO effect VALUES (?)", event.trade_id)
        tx.record(XpGained(user_id=event.user_id, xp=10))
        tx.on_commit.append(lambda: note(event))

    store: Any = Store(Path(database), domain="gamification", schema=SCHEMA) if database else NoOperation(note)
    group = Group(name="bench", consumers=1, reactions={TradeExecuted: effect})
    begun, used = time.monotonic(), time.process_time()
    await run_group(group, store=store, redis=redis, stop=stop)
    say(seconds=max(times.values()) - begun, cpu_seconds=time.process_time() - used, at=_numbered(times))
    if database:
        await store.close()
    await redis.aclose()


async def mesh(path: str, seconds: str) -> None:
    """Runs all domains with all their groups; says how long after being recorded each event was handed to a group."""
    import services.process
    from services.mesh import SERVICES, Mesh

    react_all, began = Store.react_all, time.monotonic()
    late: list[int] = []

    async def timed(self: Store, group: str, given: Sequence[tuple[Delivery, Reaction]]) -> list[Effect]:
        now_ms = wall_clock()
        late.extend(now_ms - delivery.ms for delivery, _ in given)
        return await react_all(self, group, given)

    patch(Store, react_all=timed)
    loop = asyncio.get_running_loop()
    loop.call_later(float(seconds), signal.raise_signal, signal.SIGTERM)
    both = services.process.ROLES["both"]
    await services.process.run(Mesh.load(Path(path)), [service.name for service in SERVICES], both)
    say(late_ms=late, seconds=time.monotonic() - began)


def stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


def _numbered(times: Mapping[str, float]) -> list[float]:
    return [times[str(number)] for number in range(len(times))] if "0" in times else []


if __name__ == "__main__":
    side: Any = {"outbox": outbox, "publish": publish, "consume": consume, "mesh": mesh}[sys.argv[1]]
    uvloop.run(side(*sys.argv[2:]))
