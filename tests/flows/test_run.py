"""`make run` as a user sees it: it comes up, says what to try, stops cleanly, and finds its data again."""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from services.local import redis_server
from services.local.configuration import control_socket
from services.local.control import Control
from services.mesh import ROOT, Mesh

START_SECONDS = 60
LAST_LINE = "Ctrl-C stops everything; the data stays."


def run(state_dir: Path, *, redis_url: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "services.local", "run", "--state-dir", str(state_dir), "--free-ports"]
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    if redis_url:
        environment["REDIS_URL"] = redis_url
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def output_until_ready(launcher: "subprocess.Popen[str]") -> str:
    """Returns what was printed up to the last line of the welcome, or to the end."""
    assert launcher.stdout is not None
    giving_up = threading.Timer(START_SECONDS, launcher.terminate)
    giving_up.start()
    try:
        lines = []
        for line in launcher.stdout:
            lines.append(line)
            if LAST_LINE in line:
                break
        return "".join(lines)
    finally:
        giving_up.cancel()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_it_starts_says_what_to_try_and_stops_cleanly_with_its_data_kept(tmp_path: Path, stop: signal.Signals) -> None:
    launcher = run(tmp_path)
    with launcher:
        try:
            output = output_until_ready(launcher)
            assert LAST_LINE in output, output
            mesh = Mesh.load(tmp_path / "mesh.json")
            [quote] = re.findall(r"curl -s (http://\S+/quote)", output)
            with urllib.request.urlopen(quote, timeout=10) as answer:
                assert b'"symbol":"STRK"' in answer.read()
            assert f"grpcurl -plaintext {mesh.addresses['envoy-public']} list" in output
            assert "-m services make-admin USERNAME" in output
            pids = [state.pid for state in Control(control_socket(mesh)).states().values()]
            assert len(pids) == 14
            assert all(map(alive, pids))
        finally:
            launcher.send_signal(stop)
        assert launcher.wait(30) == 0
    assert not any(map(alive, pids))
    assert mesh.database("user").exists()
    assert (tmp_path / "redis" / "appendonlydir").is_dir()


@pytest.mark.long
def test_a_mesh_that_was_stopped_starts_again_on_its_data(tmp_path: Path) -> None:
    for _ in range(2):
        with run(tmp_path) as launcher:
            try:
                assert LAST_LINE in output_until_ready(launcher)
            finally:
                launcher.send_signal(signal.SIGINT)
            assert launcher.wait(30) == 0


@pytest.mark.long
def test_ones_own_redis_is_used_with_its_own_password_and_none_is_started(tmp_path: Path) -> None:
    port = Mesh.at(tmp_path, free_ports=True).port("redis")
    data = tmp_path / "own"
    data.mkdir()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--requirepass", "secret", "--dir", str(data))
    command = [str(redis_server.binary()), *options, "--maxmemory-policy", "noeviction", "--appendonly", "yes"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as own:
        try:
            url = f"redis://:secret@127.0.0.1:{port}/0"
            with run(tmp_path / "state", redis_url=url) as launcher:
                try:
                    output = output_until_ready(launcher)
                    assert LAST_LINE in output, output
                    assert "secret" not in output
                    assert stat.S_IMODE((tmp_path / "state" / "mesh.json").stat().st_mode) == 0o600
                    mesh = Mesh.load(tmp_path / "state" / "mesh.json")
                    assert "redis" not in Control(control_socket(mesh)).states()
                finally:
                    launcher.send_signal(signal.SIGINT)
                assert launcher.wait(30) == 0
            assert own.poll() is None
        finally:
            own.terminate()
