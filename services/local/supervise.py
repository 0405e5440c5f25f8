"""Runs supervisord for one parent: it looks ten times a second instead of once, and stops when the parent is gone.

`python -I supervise.py CONFIGURATION PARENT_PID`. With its usual second, a killed process stays away for up to two.
"""

import os
import signal
import sys
from typing import Any

from supervisor import poller, supervisord

TICK_SECONDS = 0.1


def main(configuration: str, parent_pid: int) -> None:
    """Blocks until every process has stopped."""
    poll_as_asked = poller.Poller.poll
    orphaned = False

    def poll(self: Any, timeout_seconds: float) -> Any:
        nonlocal orphaned
        if not orphaned and os.getppid() != parent_pid:
            orphaned = True
            signal.raise_signal(signal.SIGTERM)
        return poll_as_asked(self, min(timeout_seconds, TICK_SECONDS))

    poller.Poller.poll = poll
    supervisord.main(["--nodaemon", "--silent", "--configuration", configuration])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
