"""Consumer groups as domains declare them: a name, how many consumers, and what is done about each event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from google.protobuf.message import Message

from services import contracts
from services.runtime.transaction import Tx

Reaction = Callable[[Tx, Any], object]
"""Applies one event in a transaction. The event's envelope is `tx.context.delivery.envelope`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A consumer group: it sees every event it reads once, whatever is killed."""

    name: str
    consumers: int
    """Consumers a process runs; each reads for itself."""
    reactions: Mapping[type[Message], Reaction]
    """What is done, by event. Its streams are derived from the events."""

    @property
    def by_stream(self) -> Mapping[str, Reaction]:
        """Returns the reactions by the stream they read."""
        return {contracts.stream_of(event): reaction for event, reaction in self.reactions.items()}


def every_event(*patterns: str, owner: str, reaction: Reaction) -> Mapping[type[Message], Reaction]:
    """Resolves wildcards such as `*` or `financial.*` against the catalogue.

    A group never reads what its own domain publishes through a wildcard: that is how feedback loops begin.
    """
    found: dict[type[Message], Reaction] = {
        event.message: reaction
        for stream, event in contracts.events().items()
        if event.domain != owner and any(fnmatchcase(stream, f"astra.{pattern}") for pattern in patterns)
    }
    if not found:
        raise ValueError(f"no event matches {', '.join(patterns)}; patterns look like `*` or `financial.*`")
    return found
