"""Runs a consumer group in this process: its consumers, the filling of its holes, and the forgetting of dead names."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import grpc
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge import metrics
from bridge.applying import Reactor
from bridge.backoff import Random
from bridge.consumer import Consumer
from bridge.groups import Group, routes
from bridge.holes import Holes
from bridge.membership import Membership
from bridge.ordered import run_ordered
from bridge.outbox_client import History
from bridge.settings import Settings
from bridge.settling import Settler, pause
from services.runtime.clock import uuid7
from services.runtime.errors import MeshError
from services.runtime.store import Store

FORGET_EVERY_SECONDS = 60.0
CLAIMS_PER_HOLE_CHECK = 3
"""Holes come to be where a stream is cut at its cap, so they are looked for less often than the dead's entries."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Past:
    """What fills a group's holes: the outboxes, and the database with its watermarks."""

    store: Store
    history: History


async def run_group(
    group: Group,
    *,
    store: Reactor,
    redis: Redis,
    stop: asyncio.Event,
    past: Past | None = None,
    settings: Settings | None = None,
    slots: Sequence[int] = (),
    forget_every_seconds: float = FORGET_EVERY_SECONDS,
    chance: Random = random.random,
) -> None:
    """Runs a group's consumers, `{group}-{slot}`, until the event is set.

    `slots` are numbers that no other process has for this group; by default from 0. An ordered group needs `past`: its
    one active consumer holds a lease in that database. Raises `ValueError` without it. `settings` are the group's own
    unless given.
    """
    settings = settings or group.settings
    by_stream = routes(group, store.domain)
    streams = list(by_stream)
    metrics.known_group(group.name, streams)
    names = [f"{group.name}-{slot}" for slot in slots or range(group.consumers)]
    if group.ordered:
        if past is None:
            raise ValueError(f"group {group.name} is ordered: it needs the database that holds its lease")
        del names[1:]
    holes_of = (
        None
        if past is None
        else partial(
            Holes,
            group.name,
            by_stream,
            store=past.store,
            redis=redis,
            history=past.history,
            holder=f"{names[0]} {uuid7()}",
            settings=settings,
            chance=chance,
        )
    )
    looking = Membership(redis, group.name, names[0], streams)

    async def forget() -> None:
        for stream in streams:
            try:
                gone = await looking.forget_silent(stream, names, settings.forget_ms)
            except ResponseError:
                continue  # no stream or no group, yet
            if gone:
                log.info("group.forgot", group=group.name, stream=stream, consumers=gone)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_every(forget_every_seconds, forget, stop), name=f"{group.name} forgets")
        if group.ordered and past is not None and holes_of is not None:
            membership = Membership(redis, group.name, names[0], streams)
            active = run_ordered(
                membership, by_stream, past.store, partial(holes_of, ordered=True), settings, stop, chance
            )
            tasks.create_task(active, name=names[0])
            return
        if holes_of is not None:
            fill = partial(holes_of(reactor=store, stop=stop).fill, streams)
            seconds = CLAIMS_PER_HOLE_CHECK * settings.claim_every_seconds
            tasks.create_task(_every(seconds, fill, stop), name=f"{group.name} holes")
        # All of them claim for the whole group: taken together they ask as often as one alone would.
        of_each = replace(settings, claim_every_seconds=settings.claim_every_seconds * len(names))
        for name in names:
            membership = Membership(redis, group.name, name, streams)
            settler = Settler(membership, by_stream, store, of_each, stop, chance)
            consumer = Consumer(membership, settler, of_each, stop, chance, capacity=len(by_stream))
            tasks.create_task(consumer.run(), name=name)


async def _every(seconds: float, step: Callable[[], Coroutine[Any, Any, object]], stop: asyncio.Event) -> None:
    """Repeats a step until the stop, whatever is away meanwhile."""
    told = ""
    while not stop.is_set():
        try:
            await step()
            told = ""
        except (RedisError, OSError, TimeoutError, grpc.RpcError, MeshError) as error:
            note = log.debug if repr(error) == told else log.warning
            note("group.waits", error=repr(error))
            told = repr(error)
        await pause(stop, seconds)
