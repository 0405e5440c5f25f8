"""How long it takes from a commit to the handler: ours, FastStream's from its publish, and a whole mesh's."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

from services.local import redis_server
from services.mesh import ROOT, Mesh
from services.runtime.credentials import make_credentials
from tests.bench.sides import ours, theirs
from tests.chaos.callers import Callers

COUNT = 2_000
PER_SECOND = 200
START_SECONDS = 2.0
"""How long processes are given to find each other before the first event."""
MESH_SECONDS = 30.0
TRADES_PER_SECOND = 8.0
"""Makes about 50 events a second: each trade sets off about six."""

Latencies = list[float]
"""Milliseconds, one an event."""


def our_latencies(folder: Path, url: str) -> Latencies:
    """Measures from the commit in a service, through the bridge, to the handler."""
    outbox = ours("outbox", str(folder / "steady" / "outbox.db"), str(COUNT), str(PER_SECOND))
    bridge = ours("publish", url, outbox.next()["address"], "0")
    consumer = ours("consume", url, str(COUNT))
    time.sleep(START_SECONDS)
    outbox.go()
    committed = outbox.next()["at"]
    handled = consumer.last()["at"]
    bridge.stop()
    outbox.stop()
    return _milliseconds(committed, handled)


def their_latencies(url: str) -> Latencies:
    """Measures FastStream from the call of its publish to the handler."""
    consumer = theirs("consume", url, str(COUNT))
    consumer.next()
    time.sleep(START_SECONDS)
    published = theirs("steadily", url, str(COUNT), str(PER_SECOND)).last()["at"]
    return _milliseconds(published, consumer.last()["at"])


def mesh_latencies(folder: Path) -> Latencies:
    """Measures in a mesh with every group: from the time an event was recorded, so with its commit, to the handler."""
    mesh = Mesh.at(folder, free_ports=True)
    path = mesh.save()
    make_credentials(mesh)
    redis_server.render(mesh)
    with ExitStack() as running:
        for command in (
            redis_server.command(mesh),
            (sys.executable, "-m", "envoy", "serve"),
            (sys.executable, "-m", "bridge", "serve"),
        ):
            running.enter_context(_running(command, path))
        services = ours("mesh", str(path), str(MESH_SECONDS))
        time.sleep(2 * START_SECONDS)
        asyncio.run(_trade(mesh))
        late: Latencies = services.last()["late_ms"]
    return late[len(late) // 5 :]  # the first fifth warms up


async def _trade(mesh: Mesh) -> None:
    callers = Callers(mesh.addresses["trading"], Random(1), TRADES_PER_SECOND)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(callers.run())
        await asyncio.sleep(MESH_SECONDS - 3 * START_SECONDS)
        callers.finish()


@contextmanager
def _running(command: Sequence[str], mesh_file: Path) -> Iterator[None]:
    with (mesh_file.parent / "processes.log").open("ab") as log:
        environment = {**os.environ, "ASTRA_MESH": str(mesh_file)}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _milliseconds(begun: Sequence[float], ended: Sequence[float]) -> Latencies:
    # A handler may run before the caller has heard of its commit: that is no time at all.
    return [max(0.0, (end - begin) * 1000) for begin, end in zip(begun, ended, strict=True)]
