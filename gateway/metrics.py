"""What the gateway counts of its requests, by route: the template, never the path that was asked for."""

import time
from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge, Histogram

from gateway.routes import Route

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 30)

_FAILURES = (500, 503, 504)

OTHER = "other"
"""Route of what has none: pages, health, sessions, preflights, and what was not found."""

REQUESTS = Counter("astra_gateway_requests", "Requests that were answered.", ["route", "status"])
SECONDS = Histogram(
    "astra_gateway_request_duration_seconds",
    "Time from the head of a request to the end of its answer; streams are left out.",
    ["route"],
    buckets=_SECONDS,
)
OPEN = Gauge("astra_gateway_open_requests", "Requests in hand, streams included.")
STALE = Counter("astra_gateway_stale_answers", "Answers that stood in while their service was down.", ["route"])


class Counts:
    """Counts the requests of one gateway. Labels are looked up once."""

    def __init__(self) -> None:
        self._seconds: dict[str, Callable[[float], None]] = {}
        self._by_status: dict[tuple[str, int], Callable[[], None]] = {}

    def known(self, routes: Iterable[Route]) -> None:
        """Begins to count the failures of routes at 0: an increase from nothing would not be seen as one."""
        for route in (None, *routes):
            for status in _FAILURES:
                REQUESTS.labels(name_of(route), status)

    def ended(self, route: Route | None, status: int, began: float) -> None:
        """Counts a request that began at this `time.perf_counter()`; without a route, one of `OTHER`."""
        name = name_of(route)
        count = self._by_status.get((name, status))
        if count is None:
            count = self._by_status[name, status] = REQUESTS.labels(name, status).inc
        count()
        if route is not None and (route.server_streaming or route.client_streaming):
            return
        observe = self._seconds.get(name)
        if observe is None:
            observe = self._seconds[name] = SECONDS.labels(name).observe
        observe(time.perf_counter() - began)


def name_of(route: Route | None) -> str:
    """Returns the label of a route, such as `POST /v1/users/{user_id}/trades`."""
    return OTHER if route is None else f"{route.method} {route.template.text}"
