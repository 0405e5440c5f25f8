"""One mesh on this machine as an object: starts it, waits until it is ready, kills parts of it, stops it."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Self

from services.local import redis_server, supervise
from services.local.configuration import STOP_SECONDS, control_socket, log_path, write_configuration
from services.local.control import Control, ProcessState
from services.local.leftovers import end_session, stop_leftovers
from services.local.ports import check_ports
from services.local.probes import NotReady, redis_answers
from services.local.processes import GROUPS, Process, processes
from services.mesh import ROOT, Mesh
from services.runtime.certificates import make_certificates
from services.runtime.credentials import make_credentials
from services.runtime.redis_client import is_own
from services.runtime.redis_url import parse

POLL_SECONDS = 0.05
SHUT_DOWN_SECONDS = 60
"""Covers each group in turn taking its whole time to stop, and being killed."""
LOG_LINES = 15


class StartFailed(Exception):
    """A process does not come up; names its log and shows the last lines of it."""


class AlreadyRunning(Exception):
    """Another launcher runs a mesh in the same state folder."""


class LocalMesh:
    """Runs a mesh for as long as the `with` block lasts. Nothing of it outlives this process.

    `processes` is another list for tests. `on_ready` is told each process when it is ready, and after how many seconds.
    """

    def __init__(
        self,
        mesh: Mesh,
        *,
        processes: Sequence[Process] | None = None,
        ready_seconds: float = 60,
        on_ready: Callable[[Process, float], None] = lambda _process, _seconds: None,
    ) -> None:
        # All that runs as a whole talks by mTLS; only parts are tried in plain text.
        self.mesh = replace(mesh, mtls=True)
        self._given = processes
        self._processes: Sequence[Process] = ()
        self._ready_seconds = ready_seconds
        self._on_ready = on_ready
        self._supervisord: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._control = Control(control_socket(mesh))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """Returns the environment in which a command finds this mesh."""
        return {**os.environ, "ASTRA_MESH": str(self.mesh.state_dir / "mesh.json"), "PYTHONUNBUFFERED": "1"}

    def log_path(self, name: str) -> Path:
        """Returns the log of a process."""
        return log_path(self.mesh, name)

    def start(self) -> None:
        """Sets the state folder up, starts every process and returns when all are ready."""
        self._lock_state()
        pid_file = self.mesh.state_dir / "supervisor" / "supervisord.pid"
        stop_leftovers(pid_file, self._control, timeout_seconds=SHUT_DOWN_SECONDS)
        make_credentials(self.mesh)
        make_certificates(self.mesh)
        self._processes = processes(self.mesh) if self._given is None else self._given
        check_ports(self.mesh, self._processes)
        shutil.rmtree(self.mesh.targets_dir, ignore_errors=True)
        # The URL of a user's own Redis may hold a password.
        self.mesh.save().chmod(0o600)
        if is_own(self.mesh):
            redis_server.render(self.mesh)
        else:
            self._check_foreign_redis()
        self._start_supervisord()
        by_group = {group: [process for process in self._processes if process.group == group] for group in GROUPS}
        self._start_ready(by_group["redis"])
        self._start_ready([process for group in GROUPS[1:] for process in by_group[group]])

    def states(self) -> dict[str, ProcessState]:
        """Returns the state of every process by name. OSError when supervisord is gone."""
        return self._control.states()

    def pids(self) -> dict[str, int]:
        """Returns the pid of every process that is alive, by name."""
        return {name: state.pid for name, state in self.states().items() if state.alive}

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> int:
        """Sends a signal to a process and returns its pid; supervisord starts it again."""
        pid = self.pids()[name]
        os.kill(pid, signal_number)
        return pid

    def wait_ready(self, *names: str, not_pid: int = 0) -> None:
        """Waits until these processes, or all, are ready. A pid that was killed is not taken for the new process."""
        chosen = [process for process in self._processes if not names or process.name in names]
        self._wait_ready(chosen, not_pid=not_pid, exit_is_final=False)

    def stop(self) -> None:
        """Stops every process, the last group first, and waits for it."""
        if self._supervisord is not None:
            self._supervisord.terminate()
            try:
                self._supervisord.wait(SHUT_DOWN_SECONDS)
            except subprocess.TimeoutExpired:
                self._supervisord.kill()
                self._supervisord.wait()
            if self._supervisord.returncode != 0:
                end_session(self._supervisord.pid, timeout_seconds=STOP_SECONDS)
            self._supervisord = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            folder = control_socket(self.mesh).parent
            if not folder.is_relative_to(self.mesh.state_dir):
                shutil.rmtree(folder, ignore_errors=True)

    def _lock_state(self) -> None:
        self.mesh.state_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.mesh.state_dir / "run.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            lock.close()
            raise AlreadyRunning(
                f"a mesh runs in {self.mesh.state_dir} already, started by pid {pid}: stop it there with Ctrl-C"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _check_foreign_redis(self) -> None:
        try:
            redis_answers(self.mesh)
        except NotReady as reason:
            raise StartFailed(
                f"the Redis of REDIS_URL, {parse(self.mesh.redis_url).shown}, does not answer: {reason}; "
                "start it, correct the URL (redis://USER:PASSWORD@HOST:PORT/0, or see docs/operating.md), "
                "or unset it to have one started"
            ) from reason

    def _start_supervisord(self) -> None:
        configuration = write_configuration(self.mesh, self._processes)
        # As a script, isolated: it imports nothing of ours, and stays small.
        command = [sys.executable, "-I", supervise.__file__, str(configuration), str(os.getpid())]
        with log_path(self.mesh, "supervisord").open("ab") as log:
            self._supervisord = subprocess.Popen(  # noqa: S603
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C at the terminal is for the launcher, which then stops the rest in order.
                start_new_session=True,
            )
        deadline = time.monotonic() + self._ready_seconds
        while True:
            with suppress(OSError):
                self._control.states()
                return
            if self._supervisord.poll() is not None or time.monotonic() > deadline:
                raise StartFailed(f"supervisord does not start\n{self._last_lines('supervisord')}")
            time.sleep(POLL_SECONDS)

    def _start_ready(self, chosen: Sequence[Process]) -> None:
        for process in chosen:
            try:
                self._control.start(process)
            except ValueError as error:
                raise StartFailed(f"{error}; its command is {process.command}") from error
        self._wait_ready(chosen, exit_is_final=True)

    def _wait_ready(self, chosen: Sequence[Process], *, exit_is_final: bool, not_pid: int = 0) -> None:
        began = time.monotonic()
        waiting = list(chosen)
        while waiting:
            states = self._states_or_fail()
            for process in list(waiting):
                state = states[process.name]
                if exit_is_final and not state.alive:
                    raise StartFailed(f"{process.name} ended while it started\n{self._last_lines(process.name)}")
                seen = f"{state.state} {state.description}"
                if state.alive and state.pid != not_pid:
                    try:
                        process.ready(self.mesh)
                    except NotReady as reason:
                        seen = str(reason)
                    else:
                        waiting.remove(process)
                        self._on_ready(process, time.monotonic() - began)
                        continue
                if time.monotonic() > began + self._ready_seconds:
                    raise StartFailed(
                        f"{process.name} is not ready after {self._ready_seconds:g} s: {seen}\n"
                        f"{self._last_lines(process.name)}"
                    )
            time.sleep(POLL_SECONDS)

    def _states_or_fail(self) -> dict[str, ProcessState]:
        try:
            return self.states()
        except OSError as error:
            raise StartFailed(f"supervisord is gone: {error}\n{self._last_lines('supervisord')}") from error

    def _last_lines(self, process: str) -> str:
        path = log_path(self.mesh, process)
        lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:] if path.exists() else []
        return "\n".join([f"{path}:", *(f"  {line}" for line in lines or ["(empty)"])])
