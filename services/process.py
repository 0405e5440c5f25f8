"""One service process: the domains it runs, in the roles it has, from start to an ordered stop.

Role `serve` answers calls and hands out the outbox; role `react` runs the consumer groups and the timers.
"""

import asyncio
import importlib
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import structlog

from bridge.bus.group_api import GroupApi
from bridge.group_runner import Past, run_group
from bridge.outbox_client import OutboxClient
from services.domain import Domain
from services.mesh import Mesh
from services.runtime.certificates import server_credentials
from services.runtime.checks import redis_answers, store_writes
from services.runtime.credentials import ServiceToken
from services.runtime.door import Door
from services.runtime.outbox_service import OutboxApi
from services.runtime.pulse import beating
from services.runtime.readings import StoreReadings
from services.runtime.redis_client import connect
from services.runtime.registry import Registration, reachable
from services.runtime.revocations import Follower
from services.runtime.server import Server
from services.runtime.slots import Slots
from services.runtime.timers import run_timers
from services.telemetry import tracing
from services.telemetry.face import reading, shown
from services.telemetry.health import Check

ROLES: Mapping[str, frozenset[str]] = {
    "serve": frozenset({"serve"}),
    "react": frozenset({"react"}),
    "both": frozenset({"serve", "react"}),
}

NOTICE_SECONDS = 1.5
"""How long a stopping process still takes calls. By then Envoy sends them elsewhere: discovery tells it in a fraction
of that, and without discovery it finds out by its health check, which it makes once a second."""

log = structlog.get_logger()


async def run(mesh: Mesh, names: Sequence[str], roles: frozenset[str], *, address: str = "") -> None:
    """Runs domains until SIGTERM or SIGINT, then stops in order.

    With an `address` of its own the process is a further replica of its one domain: it serves calls there and leaves
    the domain's other listeners to the first.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    domains = {name: build(name, mesh) for name in names}
    checks: dict[str, Check] = {f"{name} store": store_writes(domain.store) for name, domain in domains.items()}
    process = _name_of(mesh, names, roles, address)
    async with AsyncExitStack() as closing, asyncio.TaskGroup() as tasks:
        closing.enter_context(tracing.exported(names[0], process))
        for domain in domains.values():
            closing.push_async_callback(domain.store.close)
        if "react" in roles:
            redis = connect(mesh, "consumer", timeout_seconds=None)  # groups have deadlines of their own
            closing.push_async_callback(redis.aclose)
            checks["redis"] = redis_answers(redis)
            # One domain is as good as another to sign in as: any service may read an outbox.
            outboxes = OutboxClient(Door.of(mesh, names[0]), ServiceToken(mesh.keys_dir, names[0]).bearer)
            closing.push_async_callback(outboxes.close)
            for name, domain in domains.items():
                past = Past(domain.store, outboxes)
                for group in domain.groups:
                    slots = closing.enter_context(Slots(domain.store.path.parent, group.name, group.consumers))
                    run = run_group(group, store=domain.store, redis=redis, stop=stop, past=past, slots=slots.numbers)
                    tasks.create_task(run, name=group.name)
                for worker in domain.workers:
                    tasks.create_task(worker(stop), name=f"{name} worker")
                if domain.timers:
                    tasks.create_task(run_timers(domain.store, domain.timers, stop), name=f"{name} timers")
        servers, registrations = [], []
        if "serve" in roles:
            events = connect(mesh, "consumer")
            closing.push_async_callback(events.aclose)
            followers = {name: Follower(domain.store, events) for name, domain in domains.items()}
            for name, follower in followers.items():
                tasks.create_task(follower.run(stop), name=f"{name} revocations")
            await asyncio.gather(*(follower.catch_up() for follower in followers.values()))
            registry = connect(mesh, "registry", timeout_seconds=None)  # registrations have deadlines of their own
            closing.push_async_callback(registry.aclose)
            for name, domain in domains.items():
                server = Server(
                    address or mesh.listens(name),
                    apis_of(domain),
                    followers[name].revocations,
                    credentials=server_credentials(mesh, name),
                )
                closing.push_async_callback(server.stop)
                await server.start()
                servers.append(server)
                for listener in () if address else domain.listeners:
                    tasks.create_task(listener(stop), name=f"{name} listener")
                registrations.append(Registration(registry, name, reachable(server.address)))
        for registration in registrations:
            registration.start()
        of_stores = StoreReadings(*(domain.store for domain in domains.values()))
        of_domains = [one for domain in domains.values() for one in domain.readings]
        closing.enter_context(reading(of_stores, *of_domains))
        closing.enter_context(shown(mesh, process, names[0], checks, apart=process not in names))
        log.info("process.ready", domains=list(domains), roles=sorted(roles))
        async with beating():
            await stop.wait()
        log.info("process.stopping", domains=list(domains))
        if servers:
            await asyncio.gather(*(registration.leave() for registration in registrations))
            await asyncio.gather(*(server.set_serving(False) for server in servers))
            await asyncio.sleep(NOTICE_SECONDS)
        for domain in domains.values():
            domain.store.wakeups.stop()
        await asyncio.gather(*(server.stop() for server in servers))
    log.info("process.stopped", domains=list(domains))


def _name_of(mesh: Mesh, names: Sequence[str], roles: frozenset[str], address: str) -> str:
    """Returns the name of a process: its domains', and what tells it from others that run them."""
    known = {where: name for name, where in mesh.addresses.items()}
    if address:
        return known.get(address, f"{names[0]}-{address.rpartition(':')[2]}")
    return "-".join(names) if "serve" in roles else "-".join([*names, "react"])


def apis_of(domain: Domain) -> Mapping[str, object]:
    """Returns all that a domain's server serves: its own APIs, and those every service has."""
    return {
        **domain.apis,
        "astra.event.v1.OutboxService": OutboxApi(domain.store),
        "astra.event.v1.GroupService": GroupApi(domain.store, domain.groups),
    }


def build(name: str, mesh: Mesh) -> Domain:
    """Makes a domain: `services.<name>.build(mesh)`."""
    domain: Domain = importlib.import_module(f"services.{name}").build(mesh)
    return domain
