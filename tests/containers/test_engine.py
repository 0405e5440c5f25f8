"""The engine for containers: where none can be started, one clear line says why; a started one is stopped again."""

import os
from pathlib import Path

import pytest

from tests.containers.commands import CommandFailed, run
from tests.containers.engine import NoEngine, engine


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that stands for all that are installed; this is root's machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return folder


def refusal(data: Path) -> str:
    with pytest.raises(NoEngine) as caught, engine(data):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_an_engine_it_says_what_to_install(programs: Path, tmp_path: Path) -> None:
    assert "make packages" in refusal(tmp_path / "data")


def test_an_engine_that_cannot_start_is_quoted(programs: Path, tmp_path: Path) -> None:
    program(programs, "docker", "exit 1")
    program(programs, "dockerd", "echo starting; echo 'no iptables here' >&2; exit 1")
    assert "no iptables here" in refusal(tmp_path / "data")


def test_who_is_not_root_is_told_to_start_one(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "start Docker" in refusal(tmp_path / "data")


def test_an_engine_that_runs_is_taken_and_left_alone(programs: Path, tmp_path: Path) -> None:
    program(programs, "docker", "echo 28")
    with engine(tmp_path / "data") as environment:
        assert "DOCKER_HOST" not in environment
    assert not (tmp_path / "data").exists()


def test_one_that_was_started_is_stopped_at_the_end(programs: Path, tmp_path: Path) -> None:
    up, gone = tmp_path / "up", tmp_path / "gone"
    program(programs, "docker", f"test -e {up}")
    program(
        programs, "dockerd", f"trap '/bin/touch {gone}; exit 0' TERM; /bin/touch {up}; while :; do /bin/sleep 0.1; done"
    )
    with engine(tmp_path / "data") as environment:
        assert environment["DOCKER_HOST"].startswith("unix:///")
    assert gone.exists()


def test_a_command_that_fails_shows_what_it_printed() -> None:
    with pytest.raises(CommandFailed, match="out of space"):
        run(["/bin/sh", "-c", "echo out of space; exit 3"], seconds=10)
    with pytest.raises(CommandFailed, match="not ended"):
        run(["/bin/sleep", "5"], seconds=0.1)
