"""Turns the registry into Envoy's endpoint files: what registers takes traffic, what leaves gets no more."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog
import yaml
from redis.asyncio import Redis
from redis.exceptions import RedisError

from envoy.clusters import upstream_names
from envoy.endpoints import by_file, endpoints_file, endpoints_path, write_endpoints
from services.mesh import Mesh, is_ip
from services.runtime import metrics
from services.runtime.pulse import beating
from services.runtime.redis_client import connect
from services.runtime.registry import HEARTBEAT_SECONDS, Instance, Seen, forget, read_registry
from services.telemetry.face import shown

POLL_SECONDS = 0.2
TIMEOUT_SECONDS = 2.0
SETTLE_SECONDS = 3 * HEARTBEAT_SECONDS
"""How long after an outage of Redis nobody is taken for dead: each has to be heard of again first."""

Endpoints = Mapping[str, Sequence[str]]
"""Addresses by service."""

log = structlog.get_logger()


class Discovery:
    """Follows the registry and writes what changes."""

    def __init__(self, mesh: Mesh, redis: Redis, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._mesh = mesh
        self._redis = redis
        self._monotonic = monotonic
        self._names = [name for name in upstream_names() if by_file(mesh, name)]
        self._known = {name: _written(endpoints_path(mesh, name)) for name in self._names}
        self._seen: dict[str, tuple[int, int, tuple[str, ...]]] = {}
        """Files as they were last found right: inode, time of change, addresses."""
        self._outage = ""
        self._settled_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Follows the registry until the event is set."""
        while not stop.is_set():
            await self.look()
            try:
                await asyncio.wait_for(stop.wait(), POLL_SECONDS)
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Reads the registry once and writes the files that are not as they should be."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                seen = await read_registry(self._redis)
                may_drop = await self._may_drop(seen)
        except (RedisError, OSError, TimeoutError) as error:
            self._report(repr(error))
        else:
            self._report("")
            self._count(seen)
            self._known.update(endpoints(seen, may_drop=may_drop))
        self._write()

    async def _may_drop(self, seen: Sequence[Seen]) -> bool:
        """Tells whether silence means death, and takes the dead off the index: not while Redis may be the reason."""
        silent = [one for one in seen if not one.fresh]
        if not silent:
            return True
        if self._monotonic() < self._settled_at:
            return False
        try:
            await forget(self._redis, [one.instance for one in silent if one.gone])
        except RedisError as error:
            log.warning("discovery.keeps_the_silent", error=str(error))
            return False
        return True

    @property
    def outage(self) -> str:
        """Why the registry cannot be read; empty while it can."""
        return self._outage

    def _count(self, seen: Sequence[Seen]) -> None:
        for name in self._names:
            states = [
                "gone" if one.gone else "fresh" if one.fresh else "silent"
                for one in seen
                if one.instance.service == name
            ]
            for state in ("fresh", "silent", "gone"):
                metrics.INSTANCES.labels(name, state).set(states.count(state))

    def _report(self, outage: str) -> None:
        """Says when Redis goes away and when it is back."""
        if outage:
            self._settled_at = self._monotonic() + SETTLE_SECONDS
        if outage and not self._outage:
            log.error("discovery.outage", error=outage, do="bring Redis back; the last known endpoints stay")
        elif self._outage and not outage:
            log.info("discovery.goes_on")
        self._outage = outage

    def _write(self) -> None:
        """Writes what differs from the files; an Envoy that starts writes them with the addresses of the map."""
        for name in self._names:
            known = self._known[name]
            path = endpoints_path(self._mesh, name)
            # Looked at five times a second: a file that nobody has touched since is not read again.
            stamp = _stamp(path, known)
            if not known or (stamp is not None and stamp == self._seen.get(name)):
                continue
            if stamp is None or path.read_text() != endpoints_file(name, known):
                write_endpoints(self._mesh, name, known)
                log.info("discovery.moved", service=name, addresses=list(known))
            if (found := _stamp(path, known)) is not None:
                self._seen[name] = found


def endpoints(seen: Sequence[Seen], *, may_drop: bool) -> dict[str, list[str]]:
    """Returns where calls should go, for services that have any: never none at all."""
    found: dict[str, list[str]] = {}
    silent: dict[str, list[str]] = {}
    for one in seen:
        if not _sound(one.instance):
            continue
        into = found if one.fresh or not may_drop else silent
        addresses = into.setdefault(one.instance.service, [])
        if one.instance.address not in addresses:
            addresses.append(one.instance.address)
    return {**silent, **found}


async def serve(mesh: Mesh) -> None:
    """Runs until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    redis = connect(mesh, "registry", timeout_seconds=None)
    log.info("discovery.follows")
    discovery = Discovery(mesh, redis)

    async def registry() -> str:
        return discovery.outage

    try:
        async with beating():
            with shown(mesh, "discovery", "discovery", {"registry": registry}):
                await discovery.run(stop)
    finally:
        await redis.aclose()


def _sound(instance: Instance) -> bool:
    """Tells whether Envoy could call the address; one bad entry must not spoil a whole file."""
    host, _, port = instance.address.rpartition(":")
    return is_ip(host) and port.isdigit() and 0 < int(port) < 65536


def _stamp(path: Path, addresses: Sequence[str]) -> tuple[int, int, tuple[str, ...]] | None:
    """Returns what tells whether a file is still the one that was last looked at; None without a file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, tuple(addresses)


def _written(path: Path) -> list[str]:
    """Reads the addresses of an endpoint file; none if there is no such file."""
    if not path.exists():
        return []
    (assignment,) = yaml.safe_load(path.read_text())["resources"]
    sockets = [
        host["endpoint"]["address"]["socket_address"]
        for group in assignment["endpoints"]
        for host in group["lb_endpoints"]
    ]
    return [f"{socket['address']}:{socket['port_value']}" for socket in sockets]
