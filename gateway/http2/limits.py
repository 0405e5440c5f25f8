"""How much a channel takes, holds and waits for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a channel and of each of its connections."""

    max_message_bytes: int = 32 * 1024 * 1024
    """Larger messages, packed or not, end their call with RESOURCE_EXHAUSTED."""
    max_header_bytes: int = 64 * 1024
    """More in one header block ends the connection."""
    max_frame_bytes: int = 64 * 1024
    stream_window_bytes: int = 256 * 1024
    """What a server may send on a call before its reader has taken it."""
    connection_window_bytes: int = 16 * 1024 * 1024
    """What a server may send on all calls before this process has received it."""

    max_connections: int = 8
    """Another connection is opened when every other one has all the calls its server allows."""
    attempts: int = 3
    """How often a unary call is sent that servers hand back unprocessed."""
    connect_seconds: float = 5.0
    first_backoff_seconds: float = 0.1
    most_backoff_seconds: float = 1.0
    """Small, since the mesh is near: a longer pause would outlive the outage."""

    ping_after_seconds: float = 30.0
    """How long a connection with calls in hand may be silent before it is asked whether it lives."""
    ping_seconds: float = 5.0
    """How long it may take to say so."""
    silent_pings: int = 2
    """How many pings go out while no call is answered: servers close on those that ask too often."""
    close_seconds: float = 1.0
    """How long the peer may take to close with us."""
