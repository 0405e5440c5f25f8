"""What a consumer group is, and which streams it reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from bridge.settings import DEFAULTS, Settings
from services import contracts
from services.contracts import EventType
from services.runtime.transaction import Tx

Reaction = Callable[[Tx, Any], None]
"""What a group does about an event, as a plain function of the transaction that also notes it as done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A consumer group: each event it reads has its effect once, whatever dies in between."""

    name: str
    consumers: int
    """How many consumers a process runs; effects do not depend on order between them."""
    reactions: Mapping[type[Message] | str, Reaction]
    """Reaction by event, or by wildcard: `*` for every event but its own domain's, `trading.*` for all of a domain,
    its own too. An event that is named takes its own reaction rather than the wildcard's. Of an event in several
    versions a wildcard means the oldest, until that is retired; a group may name more than one, and each event has its
    effect once all the same."""
    excluding: frozenset[type[Message]] = field(default=frozenset())
    """Events that no wildcard includes."""
    ordered: bool = False
    """Whether events of the same subject are applied in the order of their stream: by one active consumer at a time,
    over all processes, where one that fails holds up its own subject alone."""
    settings: Settings = DEFAULTS
    """Its limits: how much it has in hand, how often and when it tries again, when it gives up."""


@dataclass(frozen=True, slots=True)
class Route:
    """What becomes of the entries of one stream."""

    kind: EventType
    reaction: Reaction


def routes(group: Group, owner: str) -> dict[str, Route]:
    """Returns what a domain's group reads, by stream. Raises `ValueError` for what no stream can match."""
    if group.consumers < 1:
        raise ValueError(f"group {group.name}: it needs at least one consumer, not {group.consumers}")
    found: dict[str, Route] = {}
    wildcards = [(key, reaction) for key, reaction in group.reactions.items() if isinstance(key, str)]
    for pattern, reaction in wildcards:
        matched = [kind for kind in _matching(group, pattern, owner) if kind.message not in group.excluding]
        if not matched:
            raise ValueError(f"group {group.name}: {pattern!r} matches no event; use `*` or `<domain>.*`")
        found |= {kind.stream: Route(kind, reaction) for kind in matched}
    for event, reaction in group.reactions.items():
        if isinstance(event, str):
            continue
        kind = contracts.events().get(contracts.stream_of(event))
        if kind is None:
            raise ValueError(f"group {group.name}: {event.DESCRIPTOR.full_name} is not marked as an event in its proto")
        found[kind.stream] = Route(kind, reaction)
    if not found:
        raise ValueError(f"group {group.name} reads nothing: give it reactions")
    return found


def _matching(group: Group, pattern: str, owner: str) -> list[EventType]:
    oldest: dict[str, EventType] = {}
    for kind in contracts.events().values():
        other = oldest.get(family := contracts.family_of(kind.stream))
        if other is None or _version(kind) < _version(other):
            oldest[family] = kind
    catalogue = list(oldest.values())
    if pattern == "*":
        # A group that reads by wildcard what its own reactions publish would feed itself.
        return [kind for kind in catalogue if kind.domain != owner]
    domain, _, rest = pattern.partition(".")
    if rest != "*":
        raise ValueError(f"group {group.name}: {pattern!r} is no wildcard; use `*`, `<domain>.*` or the event's class")
    return [kind for kind in catalogue if kind.domain == domain]


def _version(kind: EventType) -> int:
    return int(kind.stream.rpartition(".v")[2])
