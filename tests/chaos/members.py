"""What runs in the processes under test: the product's own entry points, with a point to die at.

They are forked from a server that has imported everything, so that a thousand starts cost seconds, not minutes.
"""

import asyncio
import ctypes
import os
import random
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import bridge.process
import services.process
from bridge.trimming import Trimmer
from services import contracts
from services.mesh import Mesh
from services.runtime.logs import configure_logs
from tests.chaos import ledger
from tests.chaos.controls import CONTROLS
from tests.chaos.points import Point, install, patch

contracts.events()
contracts.rpcs()
for name in ("trading", "gamification", "social"):
    __import__(f"services.{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a process under test is told."""

    mesh: Path
    log: Path
    point: str
    nth: int
    control: str
    """Name of the control that replaces a part of the product; empty for none."""
    trim: bool
    """Whether streams are trimmed; else every row is there to be compared in the end."""


def run_services(birth: Birth, names: tuple[str, ...], role: str) -> None:
    """Serves domains, as `python -m services serve` does."""
    mesh = _begin(birth)
    asyncio.run(services.process.run(mesh, names, services.process.ROLES[role]))


def run_bridge(birth: Birth, address: str | None) -> None:
    """Publishes, as `python -m bridge serve` does."""
    mesh = _begin(birth)
    asyncio.run(bridge.process.serve(mesh, address=address))


async def keep_everything(trimmer: Trimmer) -> int:
    """Stands for `Trimmer.trim`."""
    return 0


def _begin(birth: Birth) -> Mesh:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nothing outlives an interrupted run
    log = os.open(birth.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    random.seed()
    configure_logs()
    if birth.control:
        CONTROLS[birth.control].install(birth.mesh.parent / "cursors")
    if not birth.trim:
        patch(Trimmer, trim=keep_everything)
    point = Point(birth.point, birth.nth)
    install(point)
    ledger.install(point)
    return Mesh.load(birth.mesh)
