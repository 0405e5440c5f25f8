"""The settings of a gateway: one value, made at start and never changed."""

from dataclasses import dataclass, field
from typing import Literal

from gateway.router import RouterOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRules:
    """Which rpcs sign a browser in and out, and where their replies hold the tokens."""

    login_rpc: str
    """`/package.Service/Method`; its request is what `POST /session` takes."""
    refresh_rpc: str = ""
    logout_rpc: str = ""
    token_field: str = "access_token"  # noqa: S105 - the name of a field
    refresh_field: str = "refresh_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a gateway routes, reads, calls and answers. The defaults are the strict ones."""

    title: str = "REST API"
    """What the documentation calls the API."""
    router: RouterOptions = field(default_factory=RouterOptions)

    unknown_parameters: Literal["strict", "warn", "ignore"] = "strict"
    """What a query parameter that names no field leads to: 400, a `Warning` header, or nothing."""
    query_beside_whole_body: Literal["strict", "ignore"] = "strict"
    """What query parameters beside `body: "*"` lead to: 400, or nothing."""
    unknown_body_fields: Literal["strict", "ignore"] = "strict"
    system_parameters: frozenset[str] = frozenset({"$alt", "alt", "key", "fields", "prettyPrint", "quotaUser"})
    """Parameters of Google's APIs that are no fields. A field of the same name wins, except over `$`."""

    int64: Literal["string", "number-if-safe", "number"] = "string"
    """How 64-bit integers are written. `number-if-safe` writes a string from 2^53 on."""
    defaults: Literal["none", "scalars", "all"] = "none"
    """Which fields without presence are written when they hold their default."""

    max_body_bytes: int = 4 * 1024 * 1024
    """Larger bodies are 413, also when they are only large unpacked."""
    max_json_depth: int = 64
    max_number_characters: int = 400
    """The longest number of a body: a double's largest has 309 digits."""
    max_target_bytes: int = 16 * 1024
    """The longest path with query; longer ones are 414."""
    max_header_bytes: int = 16 * 1024
    """The longest header field; longer ones are 431."""
    max_headers: int = 100

    head_seconds: float = 10.0
    """How long a client may take to send a request's head; then 408."""
    body_seconds: float = 30.0
    """How long a client may take to send its body (in a client stream, to send more of it); then 408."""
    timeout_seconds: float = 10.0
    """The deadline of a call whose client names none."""
    max_timeout_seconds: float = 60.0
    """The longest deadline a client gets."""
    retry_after_seconds: int = 1
    """`Retry-After` of an outage, where nothing upstream says better."""
    drain_seconds: float = 15.0
    """How long requests in hand may take once the gateway stops."""
    ready_seconds: float = 1.0
    """How long a readiness probe waits for the upstream connection."""

    stream_open_seconds: float = 1.0
    """How long server-sent events wait for their first message; a failure that comes later is an event."""
    heartbeat_seconds: float = 15.0
    """How long a stream of events may say nothing; proxies cut connections that are silent."""
    write_seconds: float = 60.0
    """How long a client may not read while there is something for it; then its stream is cut."""

    compress_from_bytes: int = 1024
    """Shorter answers are sent as they are."""

    stale_max_age_seconds: float = 300.0
    """How old an answer may be that stands in for a service that is down."""
    stale_max_bytes: int = 64 * 1024
    """Larger answers are not kept for that."""
    stale_total_bytes: int = 32 * 1024 * 1024
    stale_entries: int = 10_000

    sessions: SessionRules | None = None
    """Sign-in for browsers at `/session`; none if absent."""
    secure_cookies: bool = True
    """Whether browsers send the cookies over TLS alone (and to loopback). Off only where there is no TLS."""

    console: bool = False
    """Whether `/console` is there: its pages call the rpcs of this mesh."""

    cors_origins: frozenset[str] = frozenset()
    """Origins whose pages may read answers, as `https://app.example.com`; `*` for any."""
    cors_max_age_seconds: int = 600
