"""Runs Envoy, and replaces it by another one that takes its listeners over: `python -I restarter.py SETTINGS`.

SIGHUP makes the configuration anew and starts an Envoy with it, while the one before ends its calls. SIGTERM takes no
new calls and ends those under way. It imports nothing of ours and stays small; when it dies, Envoy does.
"""

import asyncio
import ctypes
import json
import os
import re
import signal
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ADMIN_SECONDS = 2.0
LOOK_SECONDS = 0.05
KILL_SECONDS = 2.0
_PR_SET_PDEATHSIG = 1
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- it is where Envoy puts it


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is run, and how patiently. Made by `python -m envoy serve`."""

    command: Sequence[str]
    """Envoy's command line, but for what it is told of restarts."""
    refresh: Sequence[str]
    """Makes the configuration anew; if it fails, nothing is restarted."""
    admin: str
    """`host:port` of Envoy's admin face."""
    folder: str
    """Where this process's id and Envoy's base id are written."""
    drain_seconds: int
    """How long after a restart every connection is told to end."""
    handover_seconds: int
    """When after a restart the one before ends, whatever is left on it."""
    stop_seconds: float
    """How long calls under way may take at the end."""


class Restarter:
    """The Envoys of one mesh: the newest, and one before it that still ends its calls."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = Path(settings.folder)
        self._asked: asyncio.Queue[str] = asyncio.Queue()
        self._envoys: list[asyncio.subprocess.Process] = []
        self._epoch = -1
        # Found before the fork: after it little is allowed.
        self._prctl = getattr(ctypes.CDLL(None), "prctl", None)

    async def run(self) -> int:
        """Runs until SIGTERM, SIGINT or the end of the newest Envoy, and returns the exit code."""
        loop = asyncio.get_running_loop()
        for number, asked in ((signal.SIGTERM, "stop"), (signal.SIGINT, "stop"), (signal.SIGHUP, "restart")):
            loop.add_signal_handler(number, self._asked.put_nowait, asked)
        (self._folder / "serve.pid").write_text(str(os.getpid()))
        try:
            async with asyncio.TaskGroup() as watches:
                await self._start(watches)
                while (asked := await self._asked.get()) == "restart":
                    await self._restart(watches)
                if asked == "stop":
                    await self._drain()
                code = await self._end()
        finally:
            (self._folder / "serve.pid").unlink(missing_ok=True)
        return 0 if asked == "stop" else code

    async def _start(self, watches: asyncio.TaskGroup) -> None:
        self._epoch += 1
        settings, base_id = self._settings, self._folder / "base-id"
        line = [*settings.command, "--restart-epoch", str(self._epoch), "--drain-strategy", "immediate"]
        line += ["--drain-time-s", str(settings.drain_seconds)]
        line += ["--parent-shutdown-time-s", str(settings.handover_seconds)]
        if self._epoch == 0:
            self._forget(base_id)
            line += ["--use-dynamic-base-id", "--base-id-path", str(base_id)]
        else:
            line += ["--base-id", base_id.read_text().strip()]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        envoy = await asyncio.create_subprocess_exec(*line, env=environment, preexec_fn=self._die_with_parent)
        self._envoys.append(envoy)
        watches.create_task(self._watch(envoy))

    async def _restart(self, watches: asyncio.TaskGroup) -> None:
        """Starts another Envoy, once the one before the newest has ended."""
        for envoy in self._envoys[:-1]:
            await envoy.wait()
        refreshing = await asyncio.create_subprocess_exec(*self._settings.refresh)
        if await refreshing.wait():
            sys.stderr.write("Envoy is not restarted: its configuration could not be made anew\n")
            return
        await self._start(watches)

    async def _watch(self, envoy: asyncio.subprocess.Process) -> None:
        await envoy.wait()
        if envoy is self._envoys[-1]:
            self._asked.put_nowait("ended")

    async def _drain(self) -> None:
        """Takes no connection any more, ends each one at its next answer, and waits for the calls under way."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._settings.stop_seconds):
                # Each connection is told to go away at its next answer, and `/ready` says no.
                await self._admin("healthcheck/fail", method="POST")
                await self._admin("drain_listeners", method="POST")
                while await self._calls_under_way():  # noqa: ASYNC110 -- what is asked is another process
                    await asyncio.sleep(LOOK_SECONDS)

    async def _calls_under_way(self) -> int:
        text = await self._admin(r"stats?filter=^http\.(public|internal)\.downstream_rq_active$")
        return sum(int(count) for count in re.findall(r": (\d+)$", text, re.MULTILINE))

    async def _admin(self, path: str, *, method: str = "GET") -> str:
        request = urllib.request.Request(f"http://{self._settings.admin}/{path}", method=method)

        def ask() -> str:
            with urllib.request.urlopen(request, timeout=ADMIN_SECONDS) as answer:  # noqa: S310
                return str(answer.read().decode())

        return await asyncio.to_thread(ask)

    async def _end(self) -> int:
        """Ends every Envoy and returns the exit code of the newest."""
        for envoy in self._envoys:
            with suppress(ProcessLookupError):
                envoy.terminate()
        for envoy in self._envoys:
            try:
                await asyncio.wait_for(envoy.wait(), KILL_SECONDS)
            except TimeoutError:
                envoy.kill()
        self._forget(self._folder / "base-id")
        return await self._envoys[-1].wait()

    def _forget(self, base_id: Path) -> None:
        """Removes what Envoys leave in shared memory for the next one."""
        with suppress(OSError):
            (_SHARED_MEMORY / f"envoy_shared_memory_{base_id.read_text().strip()}0").unlink()
            base_id.unlink()

    def _die_with_parent(self) -> None:
        """Runs in the child: Linux kills it when this process is gone."""
        if self._prctl is not None:
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(asyncio.run(Restarter(Settings(**json.loads(sys.argv[1]))).run()))
