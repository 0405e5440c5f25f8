"""The operator's `reconcile` through Envoy, on a mesh whose histories agree."""

import asyncio
import os
import sys

import pytest

from services.local import LocalMesh
from services.mesh import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["astra.trading.trade_executed.v1"], 0, "nothing to reconcile"),
        (["astra.trading.no_such.v1"], 1, "is no stream"),
        (["astra.trading.trade_executed.v1", "--take", "both"], 1, "`outbox` or `stream`"),
    ],
)
async def test_reconcile_says_what_it_sees(running: LocalMesh, arguments: list[str], code: int, words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bridge", "reconcile", *arguments),
        cwd=ROOT,
        env={**os.environ, "ASTRA_MESH": str(running.mesh.state_dir / "mesh.json")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, words in out.decode()) == (code, True), out.decode()
