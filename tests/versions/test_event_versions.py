"""An event's second version beside its first, until that retires: nothing lost, nothing doubled, on one database."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.mesh import ROOT
from tests.release.promises import breaking, latest
from tests.versions.look import TIMES, XP
from tests.versions.steps import STEPS, retire_the_old

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

COPIED = ("protos", "services", "bridge", "envoy", "gateway", "tests", "gen")
SECONDS = 240.0


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository to change; the environments are shared."""
    root = tmp_path / "copy"
    leave = shutil.ignore_patterns("node_modules", "__pycache__")
    for name in COPIED:
        shutil.copytree(ROOT / name, root / name, ignore=leave)
    for name in ("buf.yaml", "buf.gen.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    for name in (".venv", ".tools"):
        (root / name).symlink_to(ROOT / name)
    return root


def generate(root: Path) -> None:
    for command in (["generate"], ["build", "--as-file-descriptor-set", "-o", "gen/descriptors.binpb"]):
        subprocess.run([str(ROOT / ".tools/bin/buf"), *command], cwd=root, check=True, timeout=SECONDS)


def looked(root: Path, state: Path, username: str) -> dict[str, Any]:
    """Runs the copy's mesh on the state that the steps share."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.versions.look", str(state), username],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "gen" / "python")},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def test_a_second_version_takes_over_from_the_first(copy: Path, tmp_path: Path) -> None:
    """The board would show more, or less, if an event had its effect in both versions, or in none."""
    v1, v2 = "astra.gamification.xp_gained.v1", "astra.gamification.xp_gained.v2"
    expected = {
        "write both": ([v1, v2], [2 * TIMES, TIMES]),
        "read both": ([v1, v2], [3 * TIMES, 2 * TIMES]),
        "write the new alone": ([v1, v2], [3 * TIMES, 3 * TIMES]),
        "retire the old": ([v2], [3 * TIMES, 4 * TIMES]),
    }
    state = tmp_path / "state"
    before = looked(copy, state, "step-0")
    assert (before["catalogue"], before["lengths"], before["board"]) == ([v1], [TIMES, 0], XP * TIMES)
    for number, (name, change) in enumerate(STEPS.items(), start=1):
        change(copy)
        generate(copy)
        seen = looked(copy, state, f"step-{number}")
        assert (seen["catalogue"], seen["lengths"]) == expected[name], name
        assert (seen["board"], seen["unfinished"]) == (XP * TIMES, []), name
    release = latest()
    assert release is not None
    assert breaking(copy, release) == [], "a retired event stays in the protos: what is stored of it is still read"


def test_the_steps_fit_the_sources(copy: Path) -> None:
    for change in STEPS.values():
        change(copy)
    with pytest.raises(LookupError, match="does not hold"):
        retire_the_old(copy)
