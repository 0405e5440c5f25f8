"""Runs a side of a benchmark as a process and reads the lines of JSON it prints."""

import json
import subprocess
import sys
from typing import Any

from services.mesh import ROOT

TIMEOUT_SECONDS = 120.0


_running: list["Side"] = []


class Side:
    """One process."""

    def __init__(self, *command: str) -> None:
        self._words = " ".join(command)
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

        _running.append(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    def go(self) -> None:
        """Tells it to begin."""
        self.say("go")

    def say(self, word: str) -> None:
        """Tells it something, on a line of its own."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def next(self) -> dict[str, Any]:
        """Returns its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._words}: ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def last(self) -> dict[str, Any]:
        """Waits for its end and returns its last line."""
        output, _ = self._process.communicate(timeout=TIMEOUT_SECONDS)
        if self._process.returncode != 0:
            raise SystemExit(f"{self._words}: ended with {self._process.returncode}")
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
        return found

    def end(self) -> None:
        """Ends it, if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=TIMEOUT_SECONDS)


def end_all() -> None:
    """Ends every side that is still there."""
    for side in _running:
        side.end()


def ours(*arguments: str) -> Side:
    return Side(sys.executable, "-m", "tests.bench.bus_sides", *arguments)


def theirs(*arguments: str) -> Side:
    return Side(str(ROOT / ".bench" / "bin" / "python"), "tests/bench/faststream_sides.py", *arguments)
