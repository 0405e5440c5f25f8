"""How a command fails: one line on standard error that says what to do, and exit code 1."""

from typing import Any, NoReturn

import grpc
import typer
from rich.console import Console
from rich.text import Text

_CUT_OFF = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
"""What Envoy and gRPC say of a peer that is away, or was killed in the middle of a stream."""

_CURES = {
    grpc.StatusCode.UNAUTHENTICATED: "check the username, the password or ASTRA_TOKEN, and run it again",
    grpc.StatusCode.PERMISSION_DENIED: "only an admin may: `python -m services make-admin USERNAME` makes one",
    grpc.StatusCode.UNIMPLEMENTED: "the mesh runs another version than this command: restart it",
    grpc.StatusCode.DEADLINE_EXCEEDED: "it took too long; run it again",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "wait a minute and run it again",
}
"""What to do where the server's own words may not say it."""


def fail(message: str) -> NoReturn:
    """Ends the command."""
    Console(stderr=True, soft_wrap=True).print(Text(message, style="red"))
    raise typer.Exit(1)


def fail_of(error: grpc.RpcError, what: str = "") -> NoReturn:
    """Ends the command after a refused call."""
    fail(": ".join(filter(None, (what, told(error)))))


def told(error: grpc.RpcError) -> str:
    """Returns what a refused call says, and the cure."""
    code, details = error.code(), error.details() or error.code().name
    if is_cut_off(error):
        return f"the mesh does not answer ({details}): is `make run` going? ASTRA_MESH names another mesh than var/"
    if "try again" in details:
        return details
    cure = _CURES.get(code, "")
    return f"{details}; {cure}" if cure else details


def is_cut_off(error: grpc.RpcError) -> bool:
    """Tells whether nobody was there, or went away in the middle, rather than a service refusing."""
    metadata: Any = error.trailing_metadata() or ()
    refused = any(key == "grpc-status-details-bin" for key, _ in metadata)
    return error.code() in _CUT_OFF and not refused
