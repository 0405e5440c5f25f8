"""The processes under test: started, killed, frozen, and started again whatever they died of."""

import asyncio
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

from services.mesh import ROOT, Mesh
from tests.chaos import members
from tests.chaos.controls import CONTROLS
from tests.chaos.members import Birth
from tests.chaos.points import BRIDGE_POINTS, SERVICE_POINTS

ARMED_SHARE = 0.6
"""How many of the lives are to end at a named point, unless something else ends them first."""
LONGEST_AWAY_SECONDS = 0.6

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([members.__name__])


class Member:
    """One process that lives again and again."""

    def __init__(self, name: str, target: Callable[..., None], arguments: Sequence[Any], points: Sequence[str]) -> None:
        self.name = name
        self.target = target
        self.arguments = arguments
        self.points = points
        self.wanted = asyncio.Event()
        self.process: BaseProcess | None = None
        self.point = ""
        self.killed = False

    def freeze(self) -> bool:
        """Stops it where it is. Returns whether it lived."""
        return self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> bool:
        """Sends a signal, if it lives. Returns whether it did."""
        if self.process is None or self.process.pid is None:
            return False
        try:
            os.kill(self.process.pid, number)
        except ProcessLookupError:
            return False  # it has ended, and nobody has looked since
        self.killed |= number == signal.SIGKILL
        return True


class Fleet:
    """Keeps the members alive, and Envoy; counts what they die of."""

    def __init__(
        self, mesh: Mesh, services: Sequence[tuple[str, str]], chance: random.Random, *, control: str, trim: bool
    ) -> None:
        second = mesh.addresses["gateway"]  # free here: there is no gateway
        made = [
            *(
                Member(f"{name}-{role}", members.run_services, ((name,), role), SERVICE_POINTS)
                for name, role in services
            ),
            Member("bridge", members.run_bridge, (None,), BRIDGE_POINTS),
            Member("bridge-2", members.run_bridge, (second,), BRIDGE_POINTS),
        ]
        self.members = {member.name: member for member in made}
        self.kills: Counter[str] = Counter()
        """Processes killed from outside, by name."""
        self.points: Counter[str] = Counter()
        """Processes that ended at a point, by point."""
        self.unexpected: list[str] = []
        """Ends that nobody caused: defects."""
        self.armed = True
        self._mesh = mesh
        self._chance = chance
        self._control = control
        self._trim = trim
        self._points = CONTROLS[control].points if control else (*SERVICE_POINTS, *BRIDGE_POINTS)
        self._envoy: subprocess.Popen[bytes] | None = None
        (mesh.state_dir / "log").mkdir(exist_ok=True)

    async def run(self) -> None:
        """Keeps everybody alive until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for member in self.members.values():
                    tasks.create_task(self._keep(member), name=member.name)
        finally:
            for member in self.members.values():
                self._end(member)

    def kill(self, name: str) -> bool:
        """Kills a member at whatever it is doing. Returns whether it lived."""
        died = self.members[name].send(signal.SIGKILL)
        self.kills[name] += died
        return died

    async def _keep(self, member: Member) -> None:
        while True:
            await member.wanted.wait()
            self._start(member)
            await _end_of(member)
            assert member.process is not None
            code, life = member.process.exitcode, member.process
            member.process = None
            if not member.killed and code == -signal.SIGKILL:
                self.points[member.point] += 1
            elif not member.killed:
                self.unexpected.append(f"{member.name} ended by itself with {code}")
            life.close()
            if self.armed:
                await asyncio.sleep(self._chance.random() * LONGEST_AWAY_SECONDS)

    def _start(self, member: Member) -> None:
        armed = self.armed and self._chance.random() < ARMED_SHARE
        points = [point for point in member.points if point in self._points]
        member.point = self._chance.choice(points) if armed and points else ""
        member.killed = False
        latest = 2 if "dead letter" in member.point else 6 if self._control else 120
        birth = Birth(
            mesh=self._mesh.state_dir / "mesh.json",
            log=self._mesh.state_dir / "log" / f"{member.name}.log",
            point=member.point,
            nth=self._chance.randrange(1, latest),
            control=self._control,
            trim=self._trim,
        )
        member.process = _forks.Process(target=member.target, args=(birth, *member.arguments), daemon=True)
        member.process.start()

    def disarm(self) -> None:
        """Ends every life that is still to end at a point: what is started from now on stays."""
        self.armed = False
        for member in self.members.values():
            member.thaw()
            if member.point:
                member.send(signal.SIGKILL)
        self.members["bridge-2"].wanted.clear()
        self.members["bridge-2"].send(signal.SIGKILL)

    def start_envoy(self) -> None:
        log = (self._mesh.state_dir / "log" / "envoy.log").open("ab")
        environment = {**os.environ, "ASTRA_MESH": str(self._mesh.state_dir / "mesh.json")}
        command = [sys.executable, "-m", "envoy", "serve"]
        self._envoy = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        log.close()

    def kill_envoy(self) -> None:
        if self._envoy is not None:
            self._envoy.kill()
            self._envoy.wait()
            self._envoy = None

    def _end(self, member: Member) -> None:
        if member.process is not None:
            with suppress(ProcessLookupError):
                member.send(signal.SIGKILL)
            member.process.join(5)
            member.process = None


async def _end_of(member: Member) -> None:
    assert member.process is not None
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(member.process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(member.process.sentinel)
    member.process.join()
