"""Counts and traces a request, from its head to the end of its answer."""

import time
from collections.abc import Iterable

from aiohttp import web

from gateway.metadata import CORRELATION, traceparent
from gateway.metrics import OPEN, Counts
from gateway.routes import Route
from services.telemetry import spans, tracing
from services.telemetry.tracing import Span

CLIENT_GONE = 499
"""By custom, the status of an answer that nobody waited for."""

ROUTE = web.RequestKey("route", Route)
SPAN = web.RequestKey("span", Span)


class Observer:
    """Observes the requests of one gateway."""

    def __init__(self) -> None:
        self._counts = Counts()

    def known(self, routes: Iterable[Route]) -> None:
        """Hears of the routes that are served from now on."""
        self._counts.known(routes)

    def began(self, request: web.BaseRequest) -> float:
        """Notes a request. Returns when it began, by `time.perf_counter()`."""
        OPEN.inc()
        if tracing.on():
            request[SPAN] = spans.request(request.method, traceparent(request.headers))
        return time.perf_counter()

    def ended(self, request: web.BaseRequest, response: web.StreamResponse | None, began: float) -> None:
        """Notes the end of it; without an answer the client has gone."""
        OPEN.dec()
        route = request.get(ROUTE)
        status = CLIENT_GONE if response is None else response.status
        self._counts.ended(route, status, began)
        if (span := request.get(SPAN)) is not None:
            correlation = "" if response is None else response.headers.get(CORRELATION, "")
            span.note({"astra.correlation_id": correlation})
            spans.request_ended(span, request.method, route.template.text if route else "", status)


def context_of(request: web.BaseRequest) -> str | None:
    """Returns the traceparent for calls that a request makes; None to pass on what the client gave."""
    span = request.get(SPAN)
    return None if span is None else span.traceparent
