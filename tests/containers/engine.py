"""The container engine: the one that runs, or one started for as long as it is needed, its data in its own folder."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.containers.commands import CommandFailed, run

START_SECONDS = 60.0
STOP_SECONDS = 30.0
ASK_SECONDS = 10.0


class NoEngine(Exception):
    """No engine runs here and none can be started; says why in one line."""


@contextmanager
def engine(data: Path) -> Iterator[Mapping[str, str]]:
    """Yields the environment in which `docker` finds an engine. One that was started is stopped, by its process id."""
    environment = dict(os.environ)
    if _answers(environment):
        yield environment
        return
    if os.geteuid() != 0:
        raise NoEngine("no container engine answers, and only root may start one: start Docker, or run this as root")
    data.mkdir(parents=True, exist_ok=True)
    # Its socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="astra-engine-") as folder, (data / "engine.log").open("ab") as log:
        socket = f"unix://{folder}/engine.sock"
        command = ["dockerd", "--data-root", str(data), "--exec-root", f"{folder}/exec", "-H", socket]
        command += ["-p", f"{folder}/pid"]
        try:
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        except FileNotFoundError:
            raise NoEngine("no container engine answers and `dockerd` is not installed: run `make packages`") from None
        environment["DOCKER_HOST"] = socket
        try:
            _wait(daemon, environment, data / "engine.log")
            yield environment
        finally:
            daemon.terminate()
            try:
                daemon.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _wait(daemon: "subprocess.Popen[bytes]", environment: Mapping[str, str], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(environment):
        if daemon.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines() or ["(nothing)"]
            raise NoEngine(f"the container engine does not start here: {lines[-1][:500]} (all of it in {log})")
        time.sleep(0.2)


def _answers(environment: Mapping[str, str]) -> bool:
    try:
        run(["docker", "version", "--format", "{{.Server.Version}}"], seconds=ASK_SECONDS, env=environment)
    except CommandFailed:
        return False
    return True
