"""Who is calling and which chain of events the work belongs to. Set once per call or reaction, read by the store."""

import re
from contextvars import ContextVar
from dataclasses import dataclass

from services.runtime.clock import uuid7
from services.runtime.delivery import Delivery

CORRELATION_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The identity that Envoy read from a token: a user, a service, or nobody."""

    user_id: str = ""
    roles: frozenset[str] = frozenset()
    service: str = ""
    """`service:<name>`; empty for users."""
    token_ms: int = 0
    """When a user's token was issued; 0 if that is not known, which is older than any rule about it."""

    @property
    def subject(self) -> str:
        """The token's subject; `anonymous` without a token."""
        return self.user_id or self.service or "anonymous"

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The chain that events recorded now belong to."""

    correlation_id: str
    causation_id: str = ""
    """Id of the event being reacted to; empty in a call."""
    traceparent: str = ""
    delivery: Delivery | None = None
    """The event being reacted to, with its envelope; None in a call."""

    @classmethod
    def of(cls, delivery: Delivery) -> "Context":
        """Returns the context of a reaction: the chain of the event, which causes what comes of it."""
        envelope = delivery.envelope
        return cls(
            correlation_id=envelope.correlation_id,
            causation_id=envelope.id,
            traceparent=envelope.traceparent,
            delivery=delivery,
        )


_current: ContextVar[Context | None] = ContextVar("context", default=None)


def current_context() -> Context:
    """Returns the context of the call or reaction; a fresh chain outside of both."""
    return _current.get() or Context(correlation_id=uuid7())


def enter_context(context: Context) -> None:
    """Makes it the context of the running task."""
    _current.set(context)


def correlation_id_from(given: str) -> str:
    """Returns a caller's correlation id; a new one if it is missing or malformed."""
    return given if CORRELATION_ID.fullmatch(given) else uuid7()
