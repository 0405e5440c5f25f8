"""Kills every process of a mesh once, shared out over the trades of a story, each while a chain is on its way."""

import asyncio
import random
from collections.abc import Sequence

from services.local import LocalMesh
from tests.story.chains import Act
from tests.story.play import Disturbance

LONGEST_PAUSE_SECONDS = 0.05
"""A chain takes some tens of milliseconds; the kills should fall into it, at another moment each time."""


def kill_all_in_turn(running: LocalMesh, acts: Sequence[Act], chance: random.Random) -> Disturbance:
    """Returns what kills the processes of an act in quick succession, with SIGKILL, and waits until they are back."""
    names = sorted(running.pids())
    chance.shuffle(names)
    victims = {act: names[number :: len(acts)] for number, act in enumerate(acts)}

    async def disturb(act: Act) -> None:
        killed = {}
        for name in victims[act]:
            await asyncio.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
            killed[name] = running.kill(name)
        for name, pid in killed.items():
            await asyncio.to_thread(running.wait_ready, name, not_pid=pid)

    return disturb
