"""Finds and stops what an earlier run left behind, by its pid file, never by name.

supervisord leads a session of its own, and every process it starts is in it: the session says exactly what is ours.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from services.local.control import Control


def stop_leftovers(pid_file: Path, control: Control, *, timeout_seconds: float) -> None:
    """Stops the supervisord of an earlier run and its processes; returns when they are gone."""
    try:
        pid = int(pid_file.read_text())
        written = pid_file.stat().st_mtime
    except (FileNotFoundError, ValueError):
        return
    with suppress(OSError):
        if control.pid() == pid:
            control.shut_down()
            _wait(lambda: not _alive(pid), f"supervisord, pid {pid},", timeout_seconds)
    # From before the last boot, its number may be anybody's.
    if written > time.time() - time.monotonic() and not _alive(pid):
        end_session(pid, timeout_seconds=timeout_seconds)
    pid_file.unlink(missing_ok=True)


def end_session(session: int, *, timeout_seconds: float) -> None:
    """Kills every process of a session whose leader is gone; there are some only if the leader was killed itself."""
    members = [pid for pid in _all_pids() if pid != session and _session_of(pid) == session]
    for pid in members:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    _wait(lambda: not any(map(_alive, members)), f"the session {session}", timeout_seconds)


def _all_pids() -> list[int]:
    return [int(word) for word in _ps("-A", "-o", "pid=").split()]


def _session_of(pid: int) -> int | None:
    with suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return None


def _alive(pid: int) -> bool:
    """Tells whether a process runs. A zombie does not: it only waits to be reaped."""
    state = _ps("-p", str(pid), "-o", "stat=").strip()
    return bool(state) and not state.startswith("Z")


def _ps(*arguments: str) -> str:
    # Ends with 1 when no process was found.
    return subprocess.run(["ps", *arguments], check=False, capture_output=True, text=True).stdout  # noqa: S603, S607


def _wait(gone: Callable[[], bool], what: str, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not gone():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} of an earlier run does not end: kill it")
        time.sleep(0.05)
