"""Which pages of other origins may read answers (CORS), from the configured origins alone."""

from collections.abc import Iterable

from gateway.settings import Settings

_EXPOSED = (
    "X-Correlation-ID, ETag, Age, X-Astra-Stale, Retry-After, Warning, "
    "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
)
_ACCEPTED = ", ".join(
    [
        "Authorization",
        "Content-Type",
        "Grpc-Timeout",
        "Idempotency-Key",
        "If-None-Match",
        "Last-Event-ID",
        "Traceparent",
        "Tracestate",
        "X-Correlation-ID",
        "X-Server-Timeout",
    ]
)


def answer_headers(origin: str | None, settings: Settings) -> dict[str, str]:
    """Returns the headers that let a page of this origin read the answer; caches keep answers of origins apart."""
    if not settings.cors_origins:
        return {}
    vary = {"Vary": "Origin"}
    if origin is None or not _allowed(origin, settings):
        return vary
    return {**vary, "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}


def preflight_headers(origin: str, methods: Iterable[str], settings: Settings) -> dict[str, str]:
    """Returns what a preflight of this origin is told; nothing for an origin that is not configured."""
    if not _allowed(origin, settings):
        return {}
    return {
        "Access-Control-Allow-Methods": ", ".join(sorted(methods)),
        "Access-Control-Allow-Headers": _ACCEPTED,
        "Access-Control-Max-Age": str(settings.cors_max_age_seconds),
    }


def _allowed(origin: str, settings: Settings) -> bool:
    return origin in settings.cors_origins or "*" in settings.cors_origins
