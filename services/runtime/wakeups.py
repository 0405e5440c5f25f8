"""Wake-ups: after a commit in any process of a database, every process hears of it at once.

A hint is an empty datagram to the socket each process has in the database's folder; receivers then read the tables. A
lost hint is caught by `PRAGMA data_version` once a second.
"""

import asyncio
import contextlib
import os
import socket
import sqlite3
import sys
from pathlib import Path

from services.runtime.clock import uuid7
from services.runtime.errors import Unavailable

POLL_SECONDS = 1.0
_SUN_PATH = 100
"""Longest path a socket address takes, bytes, with some room."""


class Hints:
    """Sends the datagrams. Used by the writer thread."""

    def __init__(self, folder: Path, *, own: Path) -> None:
        self._folder = folder
        self._own = own.name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._directory = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)

    def send(self) -> None:
        """Tells every other process of the database; sockets whose process has died are removed."""
        for name in os.listdir(self._folder):
            if not name.endswith(".wake") or name == self._own:
                continue
            try:
                self._socket.sendto(b"", _address(self._directory, self._folder / name))
            except (ConnectionRefusedError, FileNotFoundError):
                (self._folder / name).unlink(missing_ok=True)
            except OSError:
                pass  # a full queue wakes its reader anyway; any other lost hint is caught within a second

    def close(self) -> None:
        self._socket.close()
        os.close(self._directory)


class Wakeups:
    """Counts commits, so that a reader can wait for the next one after those it has seen."""

    def __init__(self, database: Path) -> None:
        self.version = 0
        self._stopping = False
        self.path = database.parent / f"{os.getpid()}-{uuid7()[-12:]}.wake"
        self._changed = asyncio.Event()
        self._directory = os.open(database.parent, os.O_RDONLY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(_address(self._directory, self.path))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._receive)
        self._connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)
        self._data_version = self._read_data_version()
        self._timer = self._loop.call_later(POLL_SECONDS, self._poll)

    def notify(self) -> None:
        """Wakes the readers of this process."""
        self.version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def after(self, seen: int) -> int:
        """Waits until there was a commit after version `seen` and returns the version then.

        Raises `Unavailable` once the process is stopping, which ends the streams that live on commits.
        """
        while self.version == seen and not self._stopping:
            await self._changed.wait()
        if self._stopping:
            raise Unavailable("the service is stopping; connect again", reason="STOPPING")
        return self.version

    def stop(self) -> None:
        """Ends the waits for good; the first step of a drain."""
        self._stopping = True
        self.notify()

    def close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._connection.close()
        os.close(self._directory)
        self.path.unlink(missing_ok=True)

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(16)
        self.notify()

    def _poll(self) -> None:
        version = self._read_data_version()
        if version != self._data_version:
            self._data_version = version
            self.notify()
        self._timer = self._loop.call_later(POLL_SECONDS, self._poll)

    def _read_data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


def _address(directory: int, path: Path) -> str:
    """Returns an address for the socket at `path`, in the folder that `directory` is open on.

    Socket addresses hold about 100 bytes; on Linux a longer path is reached through the folder's descriptor.
    """
    if len(os.fsencode(path)) <= _SUN_PATH:
        return str(path)
    if sys.platform != "linux":
        raise OSError(f"{path}: too long for a socket address; choose a shorter state folder")
    return f"/proc/self/fd/{directory}/{path.name}"
