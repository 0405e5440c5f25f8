"""Signs an operator in as an admin, and keeps the token until it ends: a password is asked for once in 15 minutes."""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import typer
from astra.user.v1 import user_service_pb2 as pb

from bridge.commands.failure import fail, fail_of
from services.mesh import Mesh
from services.runtime.credentials import write_private

LOGIN = "/astra.user.v1.UserService/Login"
TIMEOUT_SECONDS = 10.0
LEFT_SECONDS = 30
"""A kept token is used only if it is good for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who signed in, with what proves it."""

    username: str
    token: str
    expire_seconds: float
    """When the token ends, in seconds since the epoch."""


class SignIn:
    """Finds the token of an operator: from ASTRA_TOKEN, kept from the last command, or by signing in."""

    def __init__(self, mesh: Mesh, channel: grpc.Channel, username: str) -> None:
        self._file = mesh.state_dir / "operator" / "session.json"
        self._channel = channel
        self._username = username or os.environ.get("ASTRA_ADMIN_USERNAME", "")

    def token(self) -> str:
        """Returns a token. Ends the command with what to do if there is no way to one."""
        if given := os.environ.get("ASTRA_TOKEN"):
            return given
        kept = read_session(self._file)
        if kept is not None and self._username in ("", kept.username):
            self._username = kept.username
            if kept.expire_seconds > time.time() + LEFT_SECONDS:
                return kept.token
        return self._sign_in()

    def forget(self) -> bool:
        """Forgets a kept token that was refused. Returns whether another can be had."""
        if os.environ.get("ASTRA_TOKEN"):
            return False
        self._file.unlink(missing_ok=True)
        return True

    def _sign_in(self) -> str:
        username = self._username or _ask("Admin's username", variable="ASTRA_ADMIN_USERNAME")
        password = os.environ.get("ASTRA_ADMIN_PASSWORD") or _ask(
            f"Password of {username}", variable="ASTRA_ADMIN_PASSWORD", hidden=True
        )
        login = self._channel.unary_unary(
            LOGIN,
            request_serializer=pb.LoginRequest.SerializeToString,
            response_deserializer=pb.LoginResponse.FromString,
        )
        try:
            reply = login(pb.LoginRequest(username=username, password=password), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            fail_of(error, f"{username} cannot sign in")
        session = Session(username=username, token=reply.access_token, expire_seconds=reply.expire_time.ToSeconds())
        keep_session(self._file, session)
        return session.token


def read_session(file: Path) -> Session | None:
    """Returns the kept session; None if there is none that can be read."""
    try:
        return Session(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def keep_session(file: Path, session: Session) -> None:
    """Keeps a session where only its owner may read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.parent.chmod(0o700)
    fields = {"username": session.username, "token": session.token, "expire_seconds": session.expire_seconds}
    write_private(file, json.dumps(fields).encode())


def _ask(what: str, *, variable: str, hidden: bool = False) -> str:
    if not sys.stdin.isatty():
        fail(f"nobody is signed in and there is no terminal to ask at: set {variable}, or ASTRA_TOKEN to a token")
    return str(typer.prompt(what, hide_input=hidden, err=True))
