"""One run: everything is started, people trade, faults come; they end, it converges, and all is compared."""

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from services.mesh import Mesh
from services.runtime.credentials import make_credentials
from tests.chaos import records
from tests.chaos.callers import Callers
from tests.chaos.cluster_faults import ClusterFaults
from tests.chaos.faults import Faults
from tests.chaos.fleet import Fleet
from tests.chaos.full_redis import FullRedis
from tests.chaos.streams import Streams
from tests.chaos.streams_cluster import StreamsCluster
from tests.chaos.streams_server import StreamsServer
from tests.chaos.verdict import Verdict, compare

SERVICES = ("trading", "gamification", "social")
PROCESSES = (("trading", "serve"), ("trading", "react"), ("gamification", "both"), ("social", "both"))
CALM_SECONDS = 2.0
"""How long nothing may have changed before everything is compared."""
STALL_SECONDS = 30.0
CONTROL_STALL_SECONDS = 5.0
"""How long it may stand still, short of its end, before that is called its end."""
CONVERGE_SECONDS = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is made of."""

    seconds: float
    seed: int
    trades_per_second: float = 40.0
    control: str = ""
    trim: bool = False
    """Whether what every group has finished is trimmed; then the effects alone vouch for those rows."""
    cluster: bool = False
    """Whether the streams are in a cluster, whose primaries are failed over all the time."""
    full: bool = False
    """Whether Redis is full for all the time, and nothing else is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run was and what came of it."""

    options: Options
    fleet: Fleet
    faults: Faults
    callers: Callers
    verdict: Verdict
    converged: bool
    converge_seconds: float
    folder: Path
    """Where it ran; there only as long as it is of use."""

    @property
    def right(self) -> bool:
        """Whether everything is as it should be."""
        return self.converged and self.verdict.right and not (self.fleet.unexpected or self.callers.refused)


async def run(options: Options) -> Outcome:
    """Runs it in a folder of its own, which stays only if something is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    outcome = await _run(options, Mesh.at(folder, free_ports=True))
    if outcome.right or options.control:
        shutil.rmtree(folder)
    return outcome


async def _run(options: Options, mesh: Mesh) -> Outcome:
    chance = random.Random(options.seed)
    make_credentials(mesh)
    server: Streams
    if options.cluster:
        server = cluster = StreamsCluster(mesh, random.Random(chance.random()))
        mesh = cluster.mesh
    else:
        server = StreamsServer(mesh)
    mesh.save()
    fleet = Fleet(mesh, PROCESSES, random.Random(chance.random()), control=options.control, trim=options.trim)
    callers = Callers(mesh.addresses["trading"], random.Random(chance.random()), options.trades_per_second)
    dealt = random.Random(chance.random())
    faults: Faults
    if options.cluster:
        faults = ClusterFaults(fleet, cluster, dealt)
    else:
        faults = (FullRedis if options.full else Faults)(fleet, server, dealt)
    if isinstance(faults, FullRedis):
        faults.watch(callers, mesh.addresses["trading"])
    async with _alive(fleet, server), asyncio.TaskGroup() as tasks:
        calling = tasks.create_task(callers.run())
        killing, dealing = tasks.create_task(faults.kill_members()), tasks.create_task(faults.deal())
        await asyncio.sleep(options.seconds)
        for task in (killing, dealing):
            task.cancel()
        await asyncio.wait([killing, dealing])
        begun = time.monotonic()
        await _mend(fleet, server)
        callers.finish()
        await asyncio.wait_for(calling, CONVERGE_SECONDS)
        stall_seconds = CONTROL_STALL_SECONDS if options.control else STALL_SECONDS
        converged = await _converge(mesh, server, stall_seconds)
        await faults.last_cut()
        converged = await _converge(mesh, server, stall_seconds) and converged
        return Outcome(
            options=options,
            fleet=fleet,
            faults=faults,
            callers=callers,
            verdict=await compare(mesh, SERVICES, server.client, callers.journal, trim=options.trim),
            converged=converged,
            converge_seconds=time.monotonic() - begun,
            folder=mesh.state_dir,
        )


@asynccontextmanager
async def _alive(fleet: Fleet, server: Streams) -> AsyncIterator[None]:
    """Keeps the processes; ends them whatever happens."""
    await server.start()
    fleet.start_envoy()
    keeping = asyncio.create_task(fleet.run())
    for name, member in fleet.members.items():
        if name != "bridge-2":
            member.wanted.set()
    try:
        yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        fleet.kill_envoy()
        await server.close()


async def _mend(fleet: Fleet, server: Streams) -> None:
    """Ends every fault: everybody lives, nobody is to die, and Redis has memory."""
    server.kill()
    await server.start()
    fleet.kill_envoy()
    fleet.start_envoy()
    fleet.disarm()


async def _converge(mesh: Mesh, server: Streams, stall_seconds: float) -> bool:
    """Waits until every stream is at its outbox's end and every group at the stream's, and stays there."""
    state, changed = None, time.monotonic()
    while time.monotonic() < changed + stall_seconds:
        with suppress(RedisError, OSError):
            ends, found = records.ends(mesh, SERVICES), await _positions(server, mesh)
            if (ends, found) != state:
                state, changed = (ends, found), time.monotonic()
            level = all(found.get((stream, group)) == (ends[stream], 0) for _, group, stream in _reads(mesh, ends))
            if level and time.monotonic() > changed + CALM_SECONDS:
                return True
        await asyncio.sleep(0.25)
    return False


def _reads(mesh: Mesh, ends: dict[str, str]) -> list[tuple[str, str, str]]:
    return [reads for reads in records.reads(mesh, SERVICES) if reads[2] in ends]


async def _positions(server: Streams, mesh: Mesh) -> dict[tuple[str, str], tuple[str, int]]:
    """Returns how far each group is on each stream it reads."""
    found = {}
    for stream in {stream for _, _, stream in records.reads(mesh, SERVICES)}:
        for group, position in (await records.groups(server.client, stream)).items():
            found[stream, group] = position
    return found
