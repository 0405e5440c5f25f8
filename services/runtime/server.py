"""A gRPC server made from descriptors: each rpc of a service is the method of its API with the same name in snake case.

It does for every call what no handler should: identity and access, request checks, correlation id, errors as statuses.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import grpc
import structlog
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from services import contracts
from services.contracts import Rpc
from services.runtime.call import Call, authorize, caller_from
from services.runtime.context import Caller, Context, correlation_id_from, current_context, enter_context
from services.runtime.errors import MeshError
from services.runtime.logs import bind_chain
from services.runtime.metrics import CallTimer
from services.runtime.reflection import reflection_handlers
from services.runtime.revocations import Revocations
from services.runtime.statuses import abort, internal_status, status_of
from services.runtime.streams import while_allowed
from services.runtime.validation import validate
from services.telemetry import spans
from services.telemetry.tracing import Span

DRAIN_SECONDS = 5.0
"""How long calls in hand may take after SIGTERM."""

_OPTIONS = [
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a second server behind the first
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]

log = structlog.get_logger()


class Server:
    """Serves APIs, health and reflection on one address. Without `revocations` every token is taken that Envoy took."""

    def __init__(
        self,
        address: str,
        apis: Mapping[str, object],
        revocations: Revocations | None = None,
        *,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.address = address
        self._credentials = credentials
        revoked = revocations or Revocations()
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers(
            (*(handlers_of(service, api, revoked) for service, api in apis.items()), *reflection_handlers())
        )
        self._health = HealthServicer()
        add_HealthServicer_to_server(self._health, self._server)
        self._services = ["", *apis]

    async def start(self) -> None:
        """Binds and serves; port 0 becomes a free one. Raises `OSError` when the address is taken."""
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(self.address)
            else:
                port = self._server.add_secure_port(self.address, self._credentials)
        except RuntimeError as error:
            raise OSError(f"{self.address} cannot be bound: {error}") from error
        self.address = f"{self.address.rpartition(':')[0]}:{port}"
        await self._server.start()
        await self.set_serving(True)

    async def set_serving(self, serving: bool) -> None:
        """Sets what health checks are told."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self._health.set(service, status)

    async def set_ready(self, ready: bool) -> None:
        """Sets what a health check of the whole is told; one of a single service goes on hearing SERVING."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set("", status)

    async def stop(self) -> None:
        """Stops in order: NOT_SERVING, no new calls, calls in hand finish, for at most DRAIN_SECONDS."""
        await self.set_serving(False)
        await self._server.stop(DRAIN_SECONDS)


def handlers_of(service: str, api: object, revoked: Revocations) -> grpc.GenericRpcHandler:
    """Makes the handlers of a service. Raises `TypeError` for an rpc that the API has no method for."""
    handlers = {}
    for rpc in contracts.rpcs().values():
        if rpc.service != service:
            continue
        method = getattr(api, re.sub(r"(?<!^)(?=[A-Z])", "_", rpc.name).lower(), None)
        if method is None:
            raise TypeError(f"{type(api).__name__} does not serve {rpc.path}")
        make = grpc.unary_stream_rpc_method_handler if rpc.server_streaming else grpc.unary_unary_rpc_method_handler
        serve = _streaming(rpc, method, revoked) if rpc.server_streaming else _unary(rpc, method, revoked)
        handlers[rpc.name] = make(
            serve, request_deserializer=rpc.request.FromString, response_serializer=rpc.response.SerializeToString
        )
    return grpc.method_handlers_generic_handler(service, handlers)


def _unary(rpc: Rpc, method: Any, revoked: Revocations) -> Any:
    timer = CallTimer(rpc)

    async def serve(request: Message, context: Any) -> Any:
        began, code = time.perf_counter(), "CANCELLED"
        metadata = _metadata(context)
        span = spans.served(rpc.path, metadata.get("traceparent", ""))
        try:
            response = await method(request, _admit(rpc, request, metadata, span, revoked))
            # Behind the answer, so that all of it is sent at once: when one has begun, Envoy can neither retry the call
            # elsewhere, should this process die now, nor end it with an honest DEADLINE_EXCEEDED.
            context.set_trailing_metadata(_answer_headers())
            code = "OK"
            return response
        except Exception as error:
            code = _code_of(error, context)
            await _refuse(rpc, context, error)
        finally:
            timer.ended(code, began)
            spans.call_ended(span, code)

    return serve


def _streaming(rpc: Rpc, method: Any, revoked: Revocations) -> Any:
    timer = CallTimer(rpc)

    async def serve(request: Message, context: Any) -> AsyncIterator[Any]:
        began, code = time.perf_counter(), "CANCELLED"
        metadata = _metadata(context)
        span = spans.served(rpc.path, metadata.get("traceparent", ""))
        try:
            call = _admit(rpc, request, metadata, span, revoked)
            responses = method(request, call)
            await context.send_initial_metadata(_answer_headers())
            # A stream outlives the moment it was let in: it ends once the token is refused.
            async with aclosing(while_allowed(responses, call.caller, revoked)) as allowed:
                async for response in allowed:
                    yield response
            code = "OK"
        except Exception as error:
            code = _code_of(error, context)
            await _refuse(rpc, context, error)
        finally:
            timer.ended(code, began)
            spans.call_ended(span, code)

    return serve


def _metadata(context: Any) -> Mapping[str, str]:
    return {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}


def _admit(rpc: Rpc, request: Message, metadata: Mapping[str, str], span: Span, revoked: Revocations) -> Call:
    """Checks caller and request, and enters the chain that the call names."""
    correlation_id = correlation_id_from(metadata.get("x-correlation-id", ""))
    chain = Context(correlation_id=correlation_id, traceparent=span.traceparent)
    enter_context(chain)
    bind_chain(correlation_id, span.traceparent)
    caller = caller_from(metadata)
    if "OPEN" not in rpc.allow:
        revoked.check(caller)
    elif revoked.refuses(caller):
        caller = Caller()  # anyone may call, so it is not refused; signing in again, above all
    authorize(rpc, caller, request)
    validate(request)
    return Call(rpc, request, caller, chain)


def _answer_headers() -> tuple[tuple[str, str], ...]:
    """Returns what every answer carries, a refusal included."""
    return (("x-correlation-id", current_context().correlation_id),)


def _code_of(error: Exception, context: Any) -> str:
    """Returns the name of the gRPC status that an error becomes."""
    if isinstance(error, grpc.aio.AbortError):
        return grpc.StatusCode(context.code()).name if isinstance(context.code(), grpc.StatusCode) else "UNKNOWN"
    return error.code if isinstance(error, MeshError) else "INTERNAL"


async def _refuse(rpc: Rpc, context: Any, error: Exception) -> None:
    """Ends the call with the error's status; what nobody expected is logged and told without details."""
    if isinstance(error, grpc.aio.AbortError | asyncio.CancelledError):
        raise error
    if isinstance(error, MeshError):
        status = status_of(error, service=rpc.domain)
    else:
        log.exception("rpc.failed", rpc=rpc.path)
        status = internal_status()
    await abort(context, status, _answer_headers())
