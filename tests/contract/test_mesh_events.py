"""What every event and every consumer group promises, on a whole mesh: seen as an operator sees it."""

import pytest
from astra.bridge.v1.bus_pb2 import BusEvent
from google.protobuf.json_format import MessageToDict, ParseDict

from bridge.groups import routes
from services.contracts import EventType, events
from tests.contract.conftest import Played, Report
from tests.contract.promises import astray, groups
from tests.contract.provoking import UNREACHABLE
from tests.contract.watching import Bus

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


@pytest.mark.parametrize("event", events().values(), ids=lambda event: event.stream)
async def test_a_real_action_publishes_it_whole(event: EventType, played: Played, bus: Bus, report: Report) -> None:
    assert event.stream in {stream.stream for stream in await bus.status()}
    name = event.message.DESCRIPTOR.name
    seen = [each for each in played.events if each.stream == event.stream]
    if name in UNREACHABLE:
        assert not seen, f"{name} can be reached now: take it off UNREACHABLE"
        return
    assert seen, f"no action of the contracts publishes {event.full_name}"
    for each in seen:
        assert incomplete(event, each) == []
    report.events.append(event.stream)


def incomplete(kind: EventType, seen: BusEvent) -> list[str]:
    """Returns what an event's envelope lacks, or what of its data does not fit its message."""
    wrong = [name for name in ("event_id", "subject", "correlation_id", "producer") if not getattr(seen, name)]
    wrong += [seen.problem] if seen.problem else []
    wrong += [] if seen.type == kind.full_name else [f"type {seen.type}"]
    wrong += [] if seen.time.ToMilliseconds() == int(seen.id.partition("-")[0]) else ["time"]
    event = ParseDict(MessageToDict(seen.data), kind.message())
    if kind.user_field and seen.user_id != getattr(event, kind.user_field):
        wrong.append("user_id")
    field, value = kind.message.DESCRIPTOR.fields_by_name[kind.subject_field], getattr(event, kind.subject_field)
    if seen.subject != (field.enum_type.values_by_number[value].name if field.enum_type else str(value)):
        wrong.append(f"subject {seen.subject}, not {value}")
    return wrong


async def test_every_event_but_the_first_of_a_chain_names_its_cause(played: Played) -> None:
    ids = {each.event_id for each in played.events}
    causes = {each.causation_id for each in played.events if each.causation_id}
    assert len(causes) > len(events())
    assert causes & ids == causes, "a cause is an event that was published too"


@pytest.mark.parametrize("name", groups())
async def test_a_group_is_on_every_stream_it_reads_and_finishes(
    name: str, played: Played, bus: Bus, report: Report
) -> None:
    attached = [stream.stream for stream in await bus.status() if name in {group.group for group in stream.groups}]
    domain, group = groups()[name]
    assert astray({name: attached}, {name: (domain, group)}) == []
    assert set(attached) == set(routes(group, domain))
    left = await bus.settle()
    assert not [what for what in left if what.startswith(f"{name} ")]
    report.groups.append(name)


async def test_there_is_no_group_that_the_code_does_not_know(bus: Bus) -> None:
    assert {group.group for stream in await bus.status() for group in stream.groups} == set(groups())
