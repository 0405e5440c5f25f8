"""What a service counts and measures. Labels are names of the contracts and of the map, so they are bounded."""

import time
from collections.abc import Callable
from functools import cache

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from services.contracts import Rpc

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 30)
_WORKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# Calls.
RPCS = Counter("astra_rpc_calls", "Calls that were answered, by gRPC status.", ["rpc_service", "rpc_method", "code"])
RPC_SECONDS = Histogram(
    "astra_rpc_duration_seconds",
    "Time a call took in its service; of a stream, its whole life.",
    ["rpc_service", "rpc_method"],
    buckets=_SECONDS,
)
PEER_CALLS = Counter("astra_peer_calls", "Calls from a service to another, by gRPC status.", ["domain", "code"])

# The store.
COMMITS = Counter("astra_store_commits", "Transactions that were committed.", ["domain"])
COMMITS_FAILED = Counter("astra_store_failed_commits", "Transactions that the database refused.", ["domain"])
COMMIT_SECONDS = Histogram(
    "astra_store_commit_duration_seconds", "Time of a turn of the writer.", ["domain"], buckets=_SECONDS
)
COMMIT_WORKS = Histogram("astra_store_commit_works", "Commands that shared a commit.", ["domain"], buckets=_WORKS)

# The registry and the limits.
HEARTBEATS = Counter("astra_registry_heartbeats", "Heartbeats by outcome: `heard` or `lost`.", ["service", "outcome"])
INSTANCES = Gauge("astra_registry_instances", "Instances by state: `fresh`, `silent` or `gone`.", ["service", "state"])
LIMIT_HITS = Counter(
    "astra_limit_hits",
    "Calls that a limit counted: `allowed`, `refused`, or `uncounted` and let pass.",
    ["limit", "outcome"],
)

# Read when asked.
OUTBOX_LAST = "astra_outbox_last_ordinal", "Number of the last entry that was recorded."
OUTBOX_ROWS = "astra_outbox_rows", "Entries that the outbox holds: those within their retention."
SAGAS = "astra_saga_open", "Work of several steps that is not at its end."
TIMERS_DUE_SECONDS = "astra_timer_overdue_seconds", "How long the most overdue timer has been due; 0 for none."
EXPIRY = "astra_certificate_expiry_timestamp_seconds", "When a certificate or a key ends, in seconds since the epoch."


def family(of: tuple[str, str], labels: list[str]) -> GaugeMetricFamily:
    """Returns an empty gauge of those that are read when asked."""
    return GaugeMetricFamily(of[0], of[1], labels=labels)


class CallTimer:
    """Times the calls of one rpc."""

    __slots__ = ("_by_code", "_rpc", "_seconds")

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._seconds = RPC_SECONDS.labels(rpc.service, rpc.name)
        self._by_code: dict[str, Callable[[], None]] = {}

    def ended(self, code: str, began: float) -> None:
        """Counts a call that began at this `time.perf_counter()`."""
        self._seconds.observe(time.perf_counter() - began)
        count = self._by_code.get(code)
        if count is None:
            count = self._by_code[code] = RPCS.labels(self._rpc.service, self._rpc.name, code).inc
        count()


@cache
def of_commits(domain: str) -> tuple[Counter, Histogram, Histogram]:
    """Returns the three that every commit moves, with their label: to look labels up costs more than to count."""
    return COMMITS.labels(domain), COMMIT_SECONDS.labels(domain), COMMIT_WORKS.labels(domain)
