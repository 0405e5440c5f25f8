"""Runs a whole mesh on this machine: the list of its processes, and what starts, watches and stops them.

`processes.py` is the list. supervisord keeps each process alive; `LocalMesh` starts it on the fixed ports for
`make run`, or on free ones in a temporary folder for the demo and the tests.
"""

from services.local.local_mesh import LocalMesh, StartFailed

__all__ = ["LocalMesh", "StartFailed"]
