"""Traces: spans that go where the standard OTEL_* variables say. Without them nothing is imported and nothing kept.

The context of a span travels as text, a W3C `traceparent`: through metadata, the outbox and the envelope of an event.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
CONVENTIONS = "https://opentelemetry.io/schemas/1.44.0"
"""The version of OpenTelemetry's semantic conventions that names and attributes follow; see ADR 23."""
FLUSH_MS = 2_000
"""How long a stopping process waits for its last spans to be taken."""

_tracer: "Tracer | None" = None
_api: Any = None
"""The package `opentelemetry.trace`, once spans are exported."""


class Span(Protocol):
    """Something that takes time."""

    @property
    def traceparent(self) -> str:
        """Context for what it sets off; empty for none."""

    def note(self, attributes: Mapping[str, Any], name: str = "") -> None:
        """Adds what is known only later."""

    def end(self, error: str = "") -> None:
        """Ends it, well or with what went wrong."""


@dataclass(slots=True)
class Passed:
    """A span that is not recorded: the context it was begun in is passed on."""

    traceparent: str

    def note(self, attributes: Mapping[str, Any], name: str = "") -> None:
        """Nothing."""

    def end(self, error: str = "") -> None:
        """Nothing."""


class Recorded:
    """A span that is exported when it has ended."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Any) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent: str = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def note(self, attributes: Mapping[str, Any], name: str = "") -> None:
        self._span.set_attributes(attributes)
        if name:
            self._span.update_name(name)

    def end(self, error: str = "") -> None:
        if error:
            self._span.set_status(_api.StatusCode.ERROR, error)
        self._span.end()


def on() -> bool:
    """Tells whether traces are exported."""
    return _tracer is not None


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Tells whether the OTEL_* variables ask for traces: they name where to, and do not say no."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if exporter := environment.get("OTEL_TRACES_EXPORTER", ""):
        return exporter != "none"
    return bool(endpoint(environment))


def endpoint(environment: Mapping[str, str]) -> str:
    """Returns the URL that spans are sent to; empty for none, which the exporter takes for its default."""
    named = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    return named or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")


@contextmanager
def exported(service: str, process: str) -> Iterator[None]:
    """Exports the spans of this process for as long as the block lasts, if the environment says so.

    Raises `SystemExit` for an exporter that is not there.
    """
    global _tracer, _api
    if not is_wanted(os.environ):
        yield
        return
    _check_exporter(os.environ)
    from opentelemetry import trace as _api
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", service)
    resource = Resource.create({"service.namespace": "astra", "service.name": name, "service.instance.id": process})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("astra", schema_url=CONVENTIONS)
    try:
        yield
    finally:
        _tracer = None
        provider.force_flush(FLUSH_MS)
        provider.shutdown()


def begin(
    name: str,
    kind: str,
    parent: str,
    attributes: Mapping[str, Any],
    *,
    linked: bool = False,
    start_ns: int | None = None,
) -> Span:
    """Begins a span; `kind` is one of `SpanKind`'s names. Whether it is recorded, its trace decided when that began.

    `linked` adds a link to the parent, as the conventions ask of whoever processes a message.
    """
    is_context = TRACEPARENT.fullmatch(parent)
    if _tracer is None or (is_context and not int(parent[-2:], 16) & 1):
        return Passed(parent)
    context, links = _api.INVALID_SPAN, []
    if is_context:
        _, trace_id, span_id, flags = parent.split("-")
        bits = _api.TraceFlags(int(flags, 16))
        remote = _api.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=bits)
        context = _api.NonRecordingSpan(remote)
        links = [_api.Link(remote)] if linked else []
    # The context is always named, so that none is taken from the running task.
    within = _api.set_span_in_context(context)
    span = _tracer.start_span(name, within, _api.SpanKind[kind], attributes, links, start_ns)
    recorded = Recorded(span)
    return recorded if span.is_recording() else Passed(recorded.traceparent)


def trace_id(traceparent: str) -> str:
    """Returns the id of the trace that a context belongs to; empty for none."""
    return traceparent[3:35]


def _check_exporter(environment: Mapping[str, str]) -> None:
    if (exporter := environment.get("OTEL_TRACES_EXPORTER", "otlp")) != "otlp":
        raise SystemExit(f"OTEL_TRACES_EXPORTER={exporter}: traces are exported by `otlp` alone, or `none`")
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol and protocol != "grpc":
        raise SystemExit(
            f"{protocol}: OTLP is spoken over gRPC alone; set OTEL_EXPORTER_OTLP_PROTOCOL=grpc or unset it"
        )
