"""Compares what was observed with what was expected; every difference is one sentence."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from services import contracts
from tests.story.chains import Expected
from tests.story.streams import Observed


def chain_differences(
    chain: str, expected: Sequence[Expected], observed: Sequence[Observed], user_id: str
) -> Iterator[str]:
    """Yields what is wrong with one chain: missing, extra, causes, envelopes and values."""
    names = Counter(entry.name for entry in observed)
    for event in expected:
        if not names[event.name]:
            yield f"{chain}: {event.name} is missing"
    for name, count in (names - Counter(event.name for event in expected)).items():
        yield f"{chain}: {count} {name} too many"
    by_name = {entry.name: entry for entry in observed}
    for event in expected:
        if entry := by_name.get(event.name):
            for difference in _event_differences(event, entry, by_name, user_id):
                yield f"{chain}: {event.name}: {difference}"
    executed, updated = by_name.get("TradeExecuted"), by_name.get("PositionUpdated")
    if executed and updated:
        for name in ("trade_id", "entry_price"):
            if getattr(executed.event, name) != getattr(updated.event, name):
                yield f"{chain}: TradeExecuted and PositionUpdated have different values of {name}"


def _event_differences(
    expected: Expected, entry: Observed, by_name: Mapping[str, Observed], user_id: str
) -> Iterator[str]:
    envelope, kind = entry.envelope, contracts.events()[entry.stream]
    cause = by_name[expected.cause].envelope.id if expected.cause in by_name else ""
    if envelope.causation_id != cause:
        named = next((other.name for other in by_name.values() if other.envelope.id == envelope.causation_id), "")
        yield f"is caused by {named or envelope.causation_id or 'nothing'}, not by {expected.cause or 'nothing'}"
    facts = {
        "stream": (entry.stream, contracts.stream_of(expected.event)),
        "envelope type": (envelope.type, expected.event.DESCRIPTOR.full_name),
        "envelope source": (envelope.source, kind.domain),
        "envelope user_id": (envelope.user_id, user_id),
        "envelope subject": (envelope.subject, str(getattr(entry.event, kind.subject_field))),
        "envelope dataschema": (bool(envelope.dataschema), True),
        "envelope producer": (bool(envelope.producer), True),
        "envelope time": (abs(envelope.time.ToMilliseconds() - entry.recorded_ms) <= 1000, True),
    }
    for what, (is_now, should_be) in facts.items():
        if is_now != should_be:
            yield f"{what} is {is_now!r}, not {should_be!r}"
    for name, value in {**expected.values, "user_id": user_id}.items():
        is_now = _plain(getattr(entry.event, name))
        if value is ...:
            if not is_now:
                yield f"{name} is empty"
        elif is_now != _plain(value):
            yield f"{name} is {is_now!r}, not {_plain(value)!r}"


def stream_differences(observed: Sequence[Observed]) -> Iterator[str]:
    """Yields what is wrong with the streams as such: doubles, gaps in the ordinals, time that runs backwards."""
    for event_id, count in Counter(entry.envelope.id for entry in observed).items():
        if count > 1:
            yield f"event {event_id} is there {count} times"
    by_stream: dict[str, list[Observed]] = defaultdict(list)
    for entry in observed:
        by_stream[entry.stream].append(entry)
    for stream, entries in by_stream.items():
        ordinals = [entry.ordinal for entry in entries]
        if ordinals != list(range(1, len(entries) + 1)):
            yield f"{stream}: its ordinals are not 1 to {len(entries)} but {ordinals}"
        times = [entry.recorded_ms for entry in entries]
        if times != sorted(times):
            yield f"{stream}: its times run backwards: {times}"


def domain_counts(observed: Sequence[Observed]) -> Counter[str]:
    """Returns how many events each domain published."""
    return Counter(contracts.events()[entry.stream].domain for entry in observed)


def _plain(value: Any) -> Any:
    """Returns a value that compares and prints well."""
    if isinstance(value, Message):
        return " ".join(str(getattr(value, field.name)) for field in value.DESCRIPTOR.fields)
    return value if isinstance(value, str | int | bool) else list(value)
