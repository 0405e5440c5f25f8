"""A small OTLP collector: takes spans by gRPC and keeps them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc

from services.mesh import HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One span."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    attributes: dict[str, str]
    links: tuple[str, ...]
    """Ids of the spans it is linked to."""

    @property
    def event_id(self) -> str:
        return self.attributes.get("messaging.message.id", "")

    @property
    def operation(self) -> str:
        return self.attributes.get("messaging.operation.name", "")


@dataclass
class Collector(otlp_grpc.TraceServiceServicer):
    """Keeps every span that is exported to it."""

    port: int = 0
    spans: list[Seen] = field(default_factory=list)

    def Export(self, request: otlp.ExportTraceServiceRequest, context: Any) -> otlp.ExportTraceServiceResponse:  # noqa: N802
        for of_resource in request.resource_spans:
            service = _texts(of_resource.resource.attributes).get("service.name", "")
            for scope in of_resource.scope_spans:
                self.spans += [_seen(service, span) for span in scope.spans]
        return otlp.ExportTraceServiceResponse()


@contextmanager
def collecting() -> Iterator[Collector]:
    """Runs a collector on a free port."""
    server = grpc.server(ThreadPoolExecutor(4))
    collector = Collector()
    otlp_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


def _seen(service: str, span: Any) -> Seen:
    return Seen(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        attributes=_texts(span.attributes),
        links=tuple(link.span_id.hex() for link in span.links),
    )


def _texts(attributes: Any) -> dict[str, str]:
    return {one.key: one.value.string_value or str(one.value.int_value) for one in attributes}
