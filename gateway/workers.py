"""Several processes behind one port: the kernel spreads connections over them, and this one watches over them."""

import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

import structlog

_PORT = "ASTRA_GATEWAY_WORKER_PORT"
_NUMBER = "ASTRA_GATEWAY_WORKER_NUMBER"
_LIFELINE = "ASTRA_GATEWAY_WORKER_LIFELINE"
_RESTART_SECONDS = 1.0

log = structlog.get_logger("gateway")


def worker_port() -> int | None:
    """Returns the port a worker shares; None in a process that is no worker."""
    return int(os.environ[_PORT]) if _PORT in os.environ else None


def is_worker() -> bool:
    return worker_port() is not None


def worker_number() -> int:
    """Returns which of the workers this one is, from 1; 0 in a process that is no worker."""
    return int(os.environ.get(_NUMBER, "0"))


def lifeline() -> int | None:
    """Returns the descriptor that a worker reads the end of once its supervisor is gone, however it went."""
    return int(os.environ[_LIFELINE]) if _LIFELINE in os.environ else None


def supervise(host: str, port: int, count: int) -> int:
    """Runs workers of this same command line until SIGTERM or SIGINT, and returns the exit code.

    SIGHUP reaches every worker. One that dies is started anew, so that the port never loses a process for long; if
    they die before they ever served, that is given up after the first. Workers drain and end without their
    supervisor, so that nobody is left who serves what no signal reaches.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as held:
        # Held but not listening: the port stays ours, and no connection ends up here.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            held.bind((host, port))
        except OSError as error:
            raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}") from None
        return _Workers(held.getsockname()[1]).run(count)


class _Workers:
    def __init__(self, port: int) -> None:
        self._lifeline, self._held = os.pipe()  # nobody else has the other end, so it closes with this process
        self._environment = {**os.environ, _PORT: str(port), _LIFELINE: str(self._lifeline)}
        self._processes: list[tuple[subprocess.Popen[bytes], float]] = []
        self._stopping = False

    def run(self, count: int) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        self._processes = [self._start(index) for index in range(count)]
        while not self._stopping:
            time.sleep(0.1)
            for index, (process, started) in enumerate(self._processes):
                if self._stopping or process.poll() is None:
                    continue
                log.error("worker_died", pid=process.pid, code=process.returncode)
                if time.monotonic() - started < _RESTART_SECONDS:
                    self._stop(signal.SIGTERM, None)
                    self._wait()
                    return 1
                self._processes[index] = self._start(index)
        return self._wait()

    def _start(self, index: int) -> tuple[subprocess.Popen[bytes], float]:
        command = [sys.executable, "-m", "gateway", *sys.argv[1:]]
        environment = {**self._environment, _NUMBER: str(index + 1)}
        worker = subprocess.Popen(command, env=environment, pass_fds=[self._lifeline])  # noqa: S603 - our own
        return worker, time.monotonic()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._signal(signal.SIGTERM)

    def _reload(self, number: int, frame: FrameType | None) -> None:
        self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        for process, _ in self._processes:
            if process.poll() is None:
                process.send_signal(number)

    def _wait(self) -> int:
        return max((process.wait() for process, _ in self._processes), key=abs, default=0)
