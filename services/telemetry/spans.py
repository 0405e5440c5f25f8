"""The spans of the mesh, named after OpenTelemetry's conventions for HTTP, RPC and messaging.

A request, its calls, each event that it records (`create`), the append of each (`send`) and each reaction (`process`)
are one trace: a process span has the context of its event's creation as parent, which the conventions allow where
messages are processed one by one, and as link, which they ask for.
"""

import time
from collections.abc import Iterable

from services.telemetry.tracing import Passed, Span, begin, on

SYSTEM = "redis"
"""`messaging.system`; the conventions list no name of their own for Redis Streams."""


def request(method: str, traceparent: str) -> Span:
    """A request by REST. Its route and status are noted at its end."""
    return begin(method, "SERVER", traceparent, {"http.request.method": method}) if on() else Passed(traceparent)


def request_ended(span: Span, method: str, route: str, status: int) -> None:
    """Ends a request: the template of its route, never its path."""
    if isinstance(span, Passed):
        return
    attributes = {"http.response.status_code": status, **({"http.route": route} if route else {})}
    span.note(attributes, f"{method} {route}" if route else method)
    span.end(f"HTTP {status}" if status >= 500 else "")


def served(path: str, traceparent: str) -> Span:
    """A call, where it is served. `path` is `/package.Service/Method`."""
    return _rpc(path, "SERVER", traceparent) if on() else Passed(traceparent)


def called(path: str, traceparent: str) -> Span:
    """A call to another service."""
    return _rpc(path, "CLIENT", traceparent) if on() else Passed(traceparent)


def call_ended(span: Span, code: str) -> None:
    """Ends a call with the name of its gRPC status."""
    if isinstance(span, Passed):
        return
    span.note({"rpc.response.status_code": code})
    span.end("" if code == "OK" else code)


def created(stream: str, traceparent: str) -> Span:
    """The recording of an event, inside of a transaction; ended when that is committed, dropped if it is not."""
    if not on():
        return Passed(traceparent)
    return begin(f"create {stream}", "PRODUCER", traceparent, _messaging("create", stream))


def message(span: Span, event_id: str, correlation_id: str) -> None:
    """Notes which event a span is about."""
    if not isinstance(span, Passed):
        span.note({"messaging.message.id": event_id, "messaging.message.conversation_id": correlation_id})


def sent(stream: str, creations: Iterable[tuple[str, str, str]], began_ns: int) -> None:
    """The append of events to their stream, just now: of each its traceparent, its id and its correlation id."""
    for traceparent, event_id, correlation_id in creations:
        span = begin(
            f"send {stream}", "CLIENT", traceparent, _messaging("send", stream), linked=True, start_ns=began_ns
        )
        message(span, event_id, correlation_id)
        span.end()


def processed(group: str, stream: str, traceparent: str) -> Span:
    """The reaction of a group to an event."""
    if not on():
        return Passed(traceparent)
    attributes = {**_messaging("process", stream), "messaging.consumer.group.name": group}
    return begin(f"process {stream}", "CONSUMER", traceparent, attributes, linked=True)


def now_ns() -> int:
    return time.time_ns()


def _rpc(path: str, kind: str, traceparent: str) -> Span:
    method = path.removeprefix("/")
    return begin(method, kind, traceparent, {"rpc.system.name": "grpc", "rpc.method": method})


def _messaging(operation: str, stream: str) -> dict[str, str]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": stream,
    }
