"""Clients that users generate with buf, as in docs/clients, on the real mesh."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from services.mesh import ROOT
from tests.story.play import Stage
from tests.story.rest import PASSWORD

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300), pytest.mark.long]

CLIENTS = ROOT / "docs" / "clients"
PATH = os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / ".tools" / "bin"), os.environ["PATH"]])
SECONDS = 180.0


def run(folder: Path, *command: str, **environment: str) -> str:
    """Runs a command as a user would, and returns what it printed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**inherited, "PATH": PATH, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ended.returncode == 0, f"{' '.join(command)}: {ended.stdout}{ended.stderr}"
    return ended.stdout


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of protos and clients alone: nothing that the repository has generated is at hand."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copytree(ROOT / "gen" / "googleapis", tmp_path / "gen" / "googleapis")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    leave = shutil.ignore_patterns("node_modules", "gen", "built", "generated")
    shutil.copytree(CLIENTS, tmp_path / "docs" / "clients", ignore=leave)
    return tmp_path / "docs" / "clients"


async def test_a_python_client_buys(copied: Path, stage: Stage) -> None:
    folder, address = copied / "python", stage.running.mesh.addresses["envoy-public"]
    run(folder, "buf", "generate", "../../../protos")
    assert (folder / "generated" / "astra" / "trading" / "v1" / "trading_service_pb2_grpc.py").exists()
    username = await _registered(stage)
    printed = run(folder, "python3", "client.py", address, username, PASSWORD, PYTHONPATH="generated")
    said = json.loads(printed)
    assert (said["fee"], said["refusal"]) == ("0.15", "NOT_FOUND")
    assert said["tradeId"]


async def test_a_typescript_client_buys_and_follows_the_feed(copied: Path, stage: Stage) -> None:
    folder, address = copied / "typescript", stage.running.mesh.addresses["envoy-public"]
    run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    run(folder, "npm", "run", "build")
    username = await _registered(stage)
    said = json.loads(run(folder, "node", "built/client.js", f"http://{address}", username, PASSWORD))
    assert (said["fee"], said["refusal"]) == ("0.15", "NotFound")
    assert said["tradeId"]
    assert said["feed"] == (await stage.rest.login(username)).user_id


async def _registered(stage: Stage) -> str:
    username = f"u{uuid.uuid4().hex[:12]}"
    await stage.rest.register(username)
    return username
