"""Runs the commands of containers: each has a deadline, and says what it printed when it fails."""

import subprocess
from collections.abc import Mapping, Sequence


class CommandFailed(Exception):
    """A command ended with an error, or is not there; says which and the last of what it printed."""


def run(command: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None, cwd: str | None = None) -> str:
    """Runs a command and returns what it printed."""
    what = " ".join(command[:4])
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise CommandFailed(f"{command[0]}: not installed; `make packages` installs what the containers need") from None
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"`{what}` has not ended after {seconds:g} s: {str(error.stdout or '')[-2000:]}") from None
    if done.returncode:
        raise CommandFailed(f"`{what}` ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout
