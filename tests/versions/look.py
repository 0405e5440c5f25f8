"""`python -m tests.versions.look FOLDER USERNAME`: starts this copy's mesh, earns XP, prints what came of it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from services import contracts
from services.local import LocalMesh
from services.mesh import Mesh
from services.runtime.redis_client import connect
from tests.story.play import Stage

XP = 100
TIMES = 5
DEADLINE_SECONDS = 60.0


async def look(running: LocalMesh, username: str) -> dict[str, Any]:
    """Has the user earn XP a few times; returns the streams' lengths and what the board shows."""
    async with Stage(running, deadline_seconds=DEADLINE_SECONDS) as stage:
        await stage.rest.register(username)
        user = await stage.rest.login(username)
        for number in range(TIMES):
            await stage.rest.award_xp(stage.admin, user.user_id, XP, correlation_id=f"{username}.{number}")
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                unfinished = await stage.onlooker.unfinished()
                if not unfinished and await _on_board(stage, user.user_id) >= XP * TIMES:
                    break
                await asyncio.sleep(0.2)
        async with connect(running.mesh, "bridge") as redis:
            names = [f"astra.gamification.xp_gained.v{version}" for version in (1, 2)]
            lengths = [int(await redis.xlen(name)) for name in names]
        return {
            "catalogue": [name for name in names if name in contracts.events()],
            "lengths": lengths,
            "board": await _on_board(stage, user.user_id),
            "unfinished": list(unfinished),
        }


async def _on_board(stage: Stage, user_id: str) -> int:
    board = await stage.rest.get("/v1/leaderboards/BOARD_ALL_TIME?pageSize=1000", session=stage.admin)
    return next((int(rank["xp"]) for rank in board.get("ranks", []) if rank["userId"] == user_id), 0)


def main(folder: Path, username: str) -> None:
    """Looks at the mesh whose data is in the folder."""
    mesh = Mesh.load(folder / "mesh.json") if (folder / "mesh.json").exists() else Mesh.at(folder, free_ports=True)
    with LocalMesh(mesh) as running:
        print(json.dumps(asyncio.run(look(running, username))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
