"""Calls from one domain to another: through Envoy's internal listener, with the process's own token."""

from typing import TypeVar

import grpc
from google.protobuf.message import Message

from services.contracts import Rpc, rpcs
from services.mesh import Mesh
from services.runtime import metrics
from services.runtime.context import current_context
from services.runtime.credentials import ServiceToken
from services.runtime.door import Door
from services.runtime.errors import MeshError, Unavailable
from services.runtime.statuses import reason_of
from services.telemetry import spans

Reply = TypeVar("Reply", bound=Message)

TIMEOUT_SECONDS = 5.0


class PeerError(MeshError):
    """Another service refused a call. `code` and `reason` are the ones it gave."""

    def __init__(self, code: str, message: str, *, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.code = code  # type: ignore[misc]


class Peers:
    """Calls rpcs that are open to services.

    A write needs a `request_id` derived from what it is done for (`group:event_id`, a saga's row), so that repeating it
    after a lost reply changes nothing.
    """

    def __init__(self, mesh: Mesh, name: str) -> None:
        self._line = Door.of(mesh, name).line()
        self._token = ServiceToken(mesh.keys_dir, name)

    async def call(self, path: str, request: Message, reply: type[Reply]) -> Reply:
        """Calls an rpc such as `/astra.nft.v1.NftService/GetNft`.

        Raises `Unavailable` when it could not be reached in time, `PeerError` when it refused.
        """
        rpc: Rpc = rpcs()[path]
        if not rpc.read_only and not getattr(request, "request_id", ""):
            raise ValueError(f"{path} is a write: give it a request_id that a repeat will have too")
        send = self._line.channel.unary_unary(
            path, request_serializer=rpc.request.SerializeToString, response_deserializer=reply.FromString
        )
        context, code = current_context(), "CANCELLED"
        span = spans.called(path, context.traceparent)
        metadata = [
            ("authorization", f"Bearer {self._token.bearer()}"),
            ("x-correlation-id", context.correlation_id),
        ]
        if span.traceparent:
            metadata.append(("traceparent", span.traceparent))
        try:
            answer = await send(request, metadata=metadata, timeout=TIMEOUT_SECONDS)
            code = "OK"
            return answer
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                raise Unavailable(f"{rpc.domain} could not be reached; try again", reason="PEER_UNAVAILABLE") from error
            raise PeerError(error.code().name, error.details() or "", reason=reason_of(error)) from error
        finally:
            metrics.PEER_CALLS.labels(rpc.domain, code).inc()
            spans.call_ended(span, code)

    async def close(self) -> None:
        await self._line.close()
