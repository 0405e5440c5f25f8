"""HTTP headers to gRPC metadata and back (rule 17): what passes, what is made, what never does."""

import re
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.refusal import refusal
from gateway.settings import Settings

CORRELATION = "x-correlation-id"
_CORRELATION_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_GRPC_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PRINTABLE = re.compile(r"[\x20-\x7e]*")

ANSWERED = frozenset(
    {"retry-after", "www-authenticate", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
)
"""Metadata of a reply that an HTTP client sees; all else stays inside of the mesh."""


class Headers(Protocol):
    """The headers of a request, case-insensitive."""

    def get(self, name: str, /) -> str | None: ...
    def getall(self, name: str, default: list[str], /) -> list[str]: ...


def correlation_id(headers: Headers, new_id: Callable[[], str]) -> str:
    """Returns the caller's correlation id, or a new one if there is none or it is malformed."""
    given = headers.get(CORRELATION) or ""
    return given if _CORRELATION_ID.fullmatch(given) else new_id()


def traceparent(headers: Headers) -> str:
    """Returns the trace that a client's request belongs to; empty for none, or what is malformed."""
    given = headers.get("traceparent") or ""
    return given if _TRACEPARENT.fullmatch(given) else ""


def outgoing(
    headers: Headers,
    *,
    correlation: str,
    client_address: str | None,
    session_token: str | None = None,
    context: str | None = None,
) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of a call; `context` is its traceparent where that is not the client's.

    Only what is named here passes, so hop-by-hop, `grpc-*`, `-bin`, pseudo and `x-astra-*` headers never do. The
    client's address is the connection's: what a client states about itself is not believed.

    Raises:
        Refused: `Authorization` is there twice or holds what gRPC cannot carry.
    """
    passed = [(CORRELATION, correlation)]
    authorizations = headers.getall("authorization", [])
    if len(authorizations) > 1:
        raise refusal(400, "INVALID_HEADER", "Authorization is sent twice")
    if authorizations:
        if not _PRINTABLE.fullmatch(authorizations[0]):
            raise refusal(400, "INVALID_HEADER", "Authorization holds characters outside of printable ASCII")
        passed.append(("authorization", authorizations[0]))
    elif session_token and _PRINTABLE.fullmatch(session_token):
        passed.append(("authorization", f"Bearer {session_token}"))
    given = traceparent(headers)
    if sent := given if context is None else context:
        passed.append(("traceparent", sent))
        if given and (tracestate := headers.get("tracestate")) and _PRINTABLE.fullmatch(tracestate):
            passed.append(("tracestate", tracestate))
    if client_address:
        passed.append(("x-forwarded-for", client_address))
    return tuple(passed)


def asked_seconds(headers: Headers) -> float | None:
    """Returns the deadline a client asks for, by `X-Server-Timeout` (seconds) or `Grpc-Timeout`.

    Raises:
        Refused: the header is malformed or zero.
    """
    if (text := headers.get("x-server-timeout")) is not None:
        if not _SECONDS.fullmatch(text):
            raise refusal(400, "INVALID_HEADER", f"X-Server-Timeout takes seconds, as 2.5, not {text[:40]!r}")
        asked = float(text)
    elif (text := headers.get("grpc-timeout")) is not None:
        found = _GRPC_TIMEOUT.fullmatch(text)
        if not found:
            raise refusal(400, "INVALID_HEADER", f"Grpc-Timeout takes digits and one of HMSmun, not {text[:40]!r}")
        asked = int(found[1]) * _UNITS[found[2]]
    else:
        return None
    if asked <= 0:
        raise refusal(400, "INVALID_HEADER", "the deadline is zero: nothing can be answered in time")
    return asked


def timeout_seconds(headers: Headers, settings: Settings) -> float:
    """Returns the deadline of a unary call: the client's, bounded, or the settings'."""
    asked = asked_seconds(headers)
    return settings.timeout_seconds if asked is None else min(asked, settings.max_timeout_seconds)


def request_id(headers: Headers) -> str | None:
    """Returns the `Idempotency-Key`, which the structured-field draft writes in quotes and most clients do not."""
    given = headers.get("idempotency-key")
    return given.strip().strip('"') or None if given else None


def resume_token(headers: Headers) -> str | None:
    """Returns the `Last-Event-ID` of a browser that goes on with a stream."""
    return headers.get("last-event-id") or None


def answered(metadata: Mapping[str, str | bytes]) -> dict[str, str]:
    """Returns the headers an answer gets from the metadata of a reply."""
    answers = {}
    for name in ANSWERED:
        value = metadata.get(name)
        if isinstance(value, str):
            answers[name] = value
    return answers
