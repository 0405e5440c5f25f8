"""Asks a running supervisord about its processes, starts them, and tells it to stop."""

from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from services.local.processes import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """What supervisord says of one process."""

    state: str
    """`STARTING`, `RUNNING`, `BACKOFF`, `EXITED`, `STOPPED`, …"""
    pid: int
    """0 while there is none."""
    description: str

    @property
    def alive(self) -> bool:
        return self.state in {"STARTING", "RUNNING"} and self.pid != 0


class Control:
    """The way to one supervisord. OSError means that there is none (any more)."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def pid(self) -> int:
        """Returns the pid of supervisord itself."""
        return int(self._call("getPID"))

    def start(self, process: Process) -> None:
        """Starts a process without waiting for it. ValueError when it cannot be started at all."""
        try:
            self._call("startProcess", f"{process.group}:{process.name}", False)
        except Fault as fault:
            raise ValueError(f"{process.name}: {fault.faultString}") from fault

    def states(self) -> dict[str, ProcessState]:
        """Returns the state of every process by name."""
        rows = self._call("getAllProcessInfo")
        return {
            row["name"]: ProcessState(state=row["statename"], pid=row["pid"], description=row["description"])
            for row in rows
        }

    def shut_down(self) -> None:
        """Tells supervisord to stop every process and then itself; returns at once."""
        self._call("shutdown")

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        try:
            return getattr(ServerProxy("http://localhost", transport=transport).supervisor, method)(*arguments)
        except HTTPException as error:
            raise ConnectionError(f"supervisord: {error}") from error
        finally:
            transport.close()
