"""Starting, keeping alive and stopping, with small web servers in the place of the mesh's processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.local import probes
from services.local.configuration import control_socket, log_path, render
from services.local.local_mesh import AlreadyRunning, LocalMesh, StartFailed
from services.local.ports import PortsTaken
from services.local.processes import GROUPS, Process, processes
from services.mesh import PORTS, ROOT, Mesh

SERVER = "import http.server, sys; http.server.test(http.server.{handler}, port=int(sys.argv[1]), bind='127.0.0.1')"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


def web_server(mesh: Mesh, address: str, *, group: str = "services", path: str = "/") -> Process:
    command = (sys.executable, "-c", SERVER.format(handler="SimpleHTTPRequestHandler"), str(mesh.port(address)))
    return Process(
        name=address, group=group, command=command, ready=probes.answers_ok(address, path), listens=(address,)
    )


def ends_with(code: str) -> Process:
    return Process(
        name="social", group="services", command=(sys.executable, "-c", code), ready=probes.answers_ok("social", "/")
    )


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh.at(tmp_path / "a mesh, 100% long" / ("x" * 60), free_ports=True)
    yield mesh
    # A launcher that was killed cannot remove the short folder for the socket; the next run would.
    shutil.rmtree(control_socket(mesh).parent, ignore_errors=True)


@pytest.fixture
def running(mesh: Mesh) -> Iterator[LocalMesh]:
    listed = [web_server(mesh, "user"), web_server(mesh, "nft"), web_server(mesh, "gateway", group="gateway")]
    with LocalMesh(mesh, processes=listed, ready_seconds=20) as running:
        yield running


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_mesh_is_ready_when_every_process_answers_and_gone_after_the_block(mesh: Mesh) -> None:
    ready: list[str] = []
    listed = [web_server(mesh, "user"), web_server(mesh, "gateway", group="gateway")]
    with LocalMesh(mesh, processes=listed, on_ready=lambda process, _: ready.append(process.name)) as running:
        assert sorted(ready) == ["gateway", "user"]
        pids = running.pids()
        assert sorted(pids) == ["gateway", "user"]
        assert "GET /" in log_path(mesh, "user").read_text()
    assert not [pid for pid in pids.values() if exists(pid)]
    assert not control_socket(mesh).parent.exists(), "the short folder for the socket is left behind"


def test_a_killed_process_is_back_within_two_seconds(running: LocalMesh) -> None:
    for _ in range(2):
        # Younger than a second it would count as not started, and be kept back for one.
        wait_until(lambda: running.states()["nft"].state == "RUNNING", "nft has run for a second")
        began = time.monotonic()
        killed = running.kill("nft")
        running.wait_ready("nft", not_pid=killed)
        assert time.monotonic() - began < 2
        assert running.pids()["nft"] != killed


def test_a_process_that_ends_while_it_starts_is_named_with_its_last_lines(mesh: Mesh) -> None:
    with (
        pytest.raises(StartFailed, match=r"(?s)social ended while it started.*social\.log:.*no such file: keys"),
        LocalMesh(mesh, processes=[ends_with("raise SystemExit('no such file: keys')")], ready_seconds=20),
    ):
        pass


def test_a_process_that_is_never_ready_is_named_with_what_was_seen(mesh: Mesh) -> None:
    listed = [web_server(mesh, "user", path="/nowhere")]
    with (
        pytest.raises(StartFailed, match=r"(?s)user is not ready after 1\.5 s: GET /nowhere: 404.*user\.log:"),
        LocalMesh(mesh, processes=listed, ready_seconds=1.5),
    ):
        pass


def test_a_taken_port_is_named_with_who_wanted_it_and_nothing_is_started(mesh: Mesh) -> None:
    with LocalMesh(mesh, processes=[web_server(mesh, "user")]):
        other = Mesh(state_dir=mesh.state_dir / "other", redis_url=mesh.redis_url, addresses=mesh.addresses)
        wanted = f"port {mesh.port('user')}, wanted by user\nStop it .*--free-ports"
        with pytest.raises(PortsTaken, match=wanted), LocalMesh(other, processes=[web_server(other, "user")]):
            pass
        assert not log_path(other, "supervisord").exists()


def test_a_second_launcher_in_the_same_folder_is_refused(mesh: Mesh, running: LocalMesh) -> None:
    with pytest.raises(AlreadyRunning, match=f"started by pid {os.getpid()}"), LocalMesh(mesh, processes=[]):
        pass
    running.wait_ready()


LAUNCHER = """
import sys, time
from pathlib import Path
from services.local.local_mesh import LocalMesh
from services.mesh import Mesh
from tests.unit_local.test_local_mesh import web_server
mesh = Mesh.load(Path(sys.argv[1]))
with LocalMesh(mesh, processes=[web_server(mesh, "user")]) as running:
    print(running.pids()["user"], running._supervisord.pid, flush=True)
    time.sleep(60)
"""


def launch(mesh: Mesh) -> tuple["subprocess.Popen[str]", int, int]:
    command = [sys.executable, "-c", LAUNCHER, str(mesh.save())]
    launcher = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    with launcher.stdout:
        process, supervisord = launcher.stdout.readline().split()
    return launcher, int(process), int(supervisord)


def test_nothing_outlives_a_launcher_that_is_killed(mesh: Mesh) -> None:
    launcher, process, supervisord = launch(mesh)
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not exists(process) and not exists(supervisord), "the process and supervisord are gone")


def test_the_next_run_stops_what_a_killed_supervisord_left(mesh: Mesh) -> None:
    launcher, process, supervisord = launch(mesh)
    launcher.kill()
    os.kill(supervisord, signal.SIGKILL)
    launcher.wait()
    assert exists(process), "nothing is left, so this proves nothing"
    with LocalMesh(mesh, processes=[web_server(mesh, "user")]) as running:
        wait_until(lambda: not exists(process), "what was left is gone")
        assert running.pids()["user"] != process


def test_a_process_that_ignores_the_stop_is_killed_in_the_end(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.local.configuration.STOP_SECONDS", 1)
    deaf = Process(name="nft", group="services", command=(sys.executable, "-c", STUBBORN), ready=lambda _: None)
    with LocalMesh(mesh, processes=[deaf]) as running:
        pid = running.pids()["nft"]
        wait_until(lambda: "deaf" in log_path(mesh, "nft").read_text(), "the signal is ignored")
    assert not exists(pid)


def test_every_address_of_the_map_belongs_to_one_process(mesh: Mesh) -> None:
    listed = processes(mesh)
    assert sorted(name for process in listed for name in process.listens) == sorted(PORTS)
    assert {process.group for process in listed} == set(GROUPS)
    assert len({process.name for process in listed}) == len(listed)


def test_ones_own_redis_is_not_started(tmp_path: Path) -> None:
    mesh = Mesh.at(tmp_path, redis_url="redis://:secret@elsewhere.example:6379/0")
    assert "redis" not in {process.name for process in processes(mesh)}


def test_ones_own_redis_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    port = Mesh.at(tmp_path, free_ports=True).port("redis")
    mesh = Mesh.at(tmp_path, redis_url=f"redis://:secret@127.0.0.1:{port}/0", free_ports=True)
    with pytest.raises(StartFailed, match=f"REDIS_URL, 127.0.0.1:{port}, does not answer") as failed, LocalMesh(mesh):
        pass
    assert "secret" not in str(failed.value)


def test_groups_stop_in_the_reverse_of_their_order(mesh: Mesh) -> None:
    configuration = render(mesh, processes(mesh))
    assert [line.split(":")[1][:-1] for line in configuration.splitlines() if line.startswith("[group:")] == [*GROUPS]
    assert [line for line in configuration.splitlines() if line.startswith("priority")] == [
        f"priority = {number}" for number in range(len(GROUPS))
    ]
