"""The numbers of the mesh: deadlines, retries, breakers, health, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient and how strict the mesh is. Times are seconds."""

    deadline_seconds: float = 5
    """For a call that states no deadline."""
    max_deadline_seconds: float = 30
    """The longest `grpc-timeout` a caller is granted."""
    deadline_margin_seconds: float = 0.05
    """How much earlier Envoy answers DEADLINE_EXCEEDED, so that the answer arrives before the caller gives up."""
    connect_timeout_seconds: float = 1

    retries: int = 2
    retry_backoff_seconds: float = 0.025
    retry_backoff_max_seconds: float = 0.25
    try_timeout_seconds: float = 2
    """When a read is tried again elsewhere. Must stay above the slowest honest read: a slower one runs three times."""
    retry_budget_percent: float = 20
    retry_budget_min: int = 50
    """Retries at the same time that are always granted. All calls in hand on a replica that dies or hangs are tried
    again at once: with 3, some of them failed."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    """Calls in flight to one service; open streams count."""

    health_interval_seconds: float = 1
    health_timeout_seconds: float = 1
    unhealthy_interval_seconds: float = 0.25
    """How often a host that is down, or not up yet, is asked."""
    unhealthy_threshold: int = 2

    outlier_failures: int = 5
    """Failures in a row, UNAVAILABLE or DEADLINE_EXCEEDED, that eject a host."""
    outlier_errors: int = 20
    """Same of UNKNOWN, INTERNAL and UNIMPLEMENTED: high, because a caller of unknown methods must not eject hosts."""
    ejection_seconds: float = 30
    max_ejection_percent: int = 50
    """With one replica none is ejected: else five calls with tiny deadlines could close a service to everybody."""

    jwks_cache_seconds: float = 5
    jwks_timeout_seconds: float = 1
    clock_skew_seconds: int = 5
    cached_tokens: int = 1000
    """Tokens of processes whose signature is not verified again with every call."""

    ratelimit_timeout_seconds: float = 0.3
    """How long a call waits for the rate limit service; then it passes."""
    limited_callers: int = 10_000
    """Callers that are counted at the same time, of each limited rpc; the one longest silent is forgotten."""

    drain_seconds: int = 5
    """How long after a restart every connection to the Envoy before is told to end at its next answer."""
    handover_seconds: int = 35
    """When after a restart the Envoy before ends: longer than any unary call; streams that are left are cut."""
    stop_seconds: float = 6
    """How long calls under way may take when Envoy is stopped for good; below what supervisors wait, often 10 s."""

    cors_max_age_seconds: int = 600

    downstream_connections: int = 10_000
    public_streams: int = 100
    """Calls in flight on one public connection."""
    internal_streams: int = 1024
    """Same on an internal one: the gateway has all its callers on one."""
    ping_interval_seconds: float = 30
    ping_timeout_seconds: float = 10
    headers_timeout_seconds: float = 5
