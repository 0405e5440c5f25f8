"""Calls the mesh as an admin, through Envoy's public listener."""

import time
from collections.abc import Generator
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from bridge.commands.failure import fail_of, is_cut_off
from bridge.commands.session import SignIn
from services.contracts import rpcs
from services.mesh import Mesh

BUS = "/astra.bridge.v1.BusService"
UNARY_SECONDS = 28.0
"""How long a call may take: a little less than the longest that Envoy grants."""
RECONNECT_FIRST_SECONDS, RECONNECT_CAP_SECONDS = 0.2, 5.0
RECONNECT_FOR_SECONDS = 60.0
"""How long a stream that was cut off is sought again."""

_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
)


class AdminClient:
    """Calls rpcs. A refusal ends the command with what to do about it."""

    def __init__(self, username: str = "", mesh: Mesh | None = None) -> None:
        mesh = mesh or Mesh.load()
        self._channel = grpc.insecure_channel(mesh.addresses["envoy-public"], options=_OPTIONS)
        self._sign_in = SignIn(mesh, self._channel, username)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def call(self, path: str, request: Message) -> Any:
        """Calls a unary rpc."""
        try:
            return self.try_call(path, request)
        except grpc.RpcError as error:
            fail_of(error)

    def try_call(self, path: str, request: Message) -> Any:
        """Calls a unary rpc. Raises `RpcError` for a refusal, but signs in anew if it is the token's."""
        rpc = rpcs()[path]
        send = self._channel.unary_unary(
            path, request_serializer=rpc.request.SerializeToString, response_deserializer=rpc.response.FromString
        )
        try:
            return send(request, metadata=self._metadata(), timeout=UNARY_SECONDS)
        except grpc.RpcError as error:
            if not self._may_repeat(error):
                raise
        return send(request, metadata=self._metadata(), timeout=UNARY_SECONDS)

    def follow(self, path: str, request: Any) -> Generator[Any, None, None]:
        """Yields what an rpc streams; when it is cut off, goes on after the last response seen."""
        rpc = rpcs()[path]
        send: Any = self._channel.unary_stream(
            path, request_serializer=rpc.request.SerializeToString, response_deserializer=rpc.response.FromString
        )
        signed_anew, wait, deadline = False, RECONNECT_FIRST_SECONDS, 0.0
        while True:
            call = send(request, metadata=self._metadata())
            try:
                for response in call:
                    request.resume_token = response.resume_token
                    signed_anew, wait, deadline = False, RECONNECT_FIRST_SECONDS, 0.0
                    yield response
                return
            except grpc.RpcError as error:
                if not signed_anew and self._may_repeat(error):
                    signed_anew = True
                    continue
                deadline = deadline or time.monotonic() + RECONNECT_FOR_SECONDS
                away = is_cut_off(error) or error.code() is grpc.StatusCode.UNAVAILABLE
                if not (away and request.resume_token) or time.monotonic() > deadline:
                    fail_of(error)
            finally:
                call.cancel()
            time.sleep(wait)
            wait = min(RECONNECT_CAP_SECONDS, wait * 2)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._sign_in.token()}"),)

    def _may_repeat(self, error: grpc.RpcError) -> bool:
        return error.code() is grpc.StatusCode.UNAUTHENTICATED and self._sign_in.forget()
