"""Plants one fault after the other in a copy of the repository: the contracts must catch each, and by its name."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.mesh import ROOT

COPIED = ("protos", "services", "bridge", "envoy", "gateway", "tests")
FILES = ("Makefile", "buf.yaml", "buf.gen.yaml", "pyproject.toml", "requirements.lock", "tools.lock")
CHECKS = ("tests/house/test_contracts.py", "tests/contract/test_promises.py")

pytestmark = pytest.mark.long


def edit(path: Path, pattern: str, replacement: str) -> int:
    """Replaces what matches in a file; returns how often it did."""
    text, count = re.subn(pattern, replacement, path.read_text(), flags=re.DOTALL)
    if count:
        path.write_text(text)
    return count


def rpc_without_a_route(copy: Path) -> int:
    proto = copy / "protos/astra/social/v1/social_service.proto"
    return edit(proto, r"(rpc GetSocialProfile\([^{]*\{.*?)option \(google\.api\.http\) = \{\n.*?\n    \};", r"\1")


def renamed_event(copy: Path) -> int:
    """A rename that is carried through, so that everything still fits together, but for those who know the old name."""
    sources = [*copy.glob("protos/**/*.proto"), *copy.glob("services/**/*.py")]
    return sum(edit(path, r"\bLevelUp\b", "LevelRaised") for path in sources)


def group_on_a_stream_that_does_not_exist(copy: Path) -> int:
    return edit(copy / "services/financial/reactions.py", r'"financial\.\*"', '"finances.*"')


def nothing(copy: Path) -> int:
    return int(copy.exists())


def checked(copy: Path) -> subprocess.CompletedProcess[str]:
    """Generates the code of a copy and runs the contracts that need no mesh on it."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "gen" / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    options = {"cwd": copy, "env": environment, "capture_output": True, "text": True, "timeout": 100}
    made = subprocess.run(["make", "gen"], **options)  # type: ignore[call-overload]
    assert made.returncode == 0, made.stdout + made.stderr
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *CHECKS]
    done: subprocess.CompletedProcess[str] = subprocess.run(command, **options)  # type: ignore[call-overload]
    return done


@pytest.mark.parametrize(
    ("plant", "names"),
    [
        (rpc_without_a_route, ["/astra.social.v1.SocialService/GetSocialProfile"]),
        (renamed_event, ["LevelUp", "LevelRaised"]),
        (group_on_a_stream_that_does_not_exist, ["financial_compliance", "finances.*"]),
        (nothing, []),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_a_planted_fault_is_caught_by_its_name(tmp_path: Path, plant: Callable[[Path], int], names: list[str]) -> None:
    for folder in COPIED:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy2(ROOT / file, tmp_path / file)
    for folder in (".venv", ".tools"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    assert plant(tmp_path), "nothing was planted"
    done = checked(tmp_path)
    assert done.returncode == (1 if names else 0), done.stdout + done.stderr
    assert [name for name in names if name not in done.stdout] == []
