"""What was stored under every released version is still read: envelopes by their groups, requests by their rpcs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from astra.event.v1.envelope_pb2 import Envelope
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from bridge.groups import Group, Reaction, routes
from services import contracts, process
from services.contracts import EventType
from services.domain import Domain
from services.mesh import SERVICES, Mesh
from services.runtime.delivery import Delivery
from services.runtime.errors import NotFound
from tests.contract.reliance import Declared, Watched, declared, field_type
from tests.release import corpus
from tests.release.promises import releases
from tests.release.samples import MOMENT_SECONDS

RELEASES = [pytest.param(release, id=release.name) for release in releases()]
DOMAINS = [service.name for service in SERVICES]


@pytest_asyncio.fixture
async def domain(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Domain]:
    made = process.build(request.param, Mesh.at(tmp_path, free_ports=True))
    yield made
    await made.store.close()


@pytest.mark.parametrize("release", RELEASES)
def test_every_stored_envelope_is_decoded_whole(release: Path) -> None:
    stored = dict(corpus.envelopes(release))
    assert len(stored) > 30
    for stream, content in stored.items():
        envelope = Envelope.FromString(content)
        kind = contracts.events().get(stream)
        if kind is None:
            assert stream in contracts.retired_streams()
            continue
        event = kind.message.FromString(envelope.data)
        assert envelope.type == kind.full_name
        assert not unknown(event), f"{stream}: fields that today's proto does not know"
        assert event.SerializeToString(deterministic=True) == envelope.data
        for name in (kind.subject_field, kind.user_field):
            assert not name or getattr(event, name), f"{stream}: {name} was set and is not"


@pytest.mark.parametrize("release", RELEASES)
def test_every_stored_request_is_decoded_whole(release: Path) -> None:
    stored = dict(corpus.requests(release))
    assert len(stored) > 80
    for path, content in stored.items():
        request = contracts.rpcs()[path].request.FromString(content)
        assert not unknown(request), path
        assert request.SerializeToString(deterministic=True) == content, path


def unknown(message: Message) -> bool:
    """Tells whether a message holds fields that its type does not have."""
    return len(UnknownFieldSet(message)) > 0


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("domain", DOMAINS, indirect=True)
async def test_every_group_handles_what_was_stored(domain: Domain, release: Path) -> None:
    """A group reads no field that it has not declared, and has its effect of every stored event it reads."""
    stored = dict(corpus.envelopes(release))
    wanting: list[str] = []
    for group in domain.groups:
        for stream, route in routes(group, domain.store.domain).items():
            if stream in stored:
                seen = await handled(domain, group, route.kind, route.reaction, stored[stream])
                wanting += missing(domain.store.domain, group, route.kind, seen)
    assert not wanting, "declare what the groups rely on, in relies_on.yaml beside their reactions"


async def handled(domain: Domain, group: Group, kind: EventType, reaction: Reaction, content: bytes) -> set[str]:
    """Hands an envelope to a group; returns the fields of the event that its reaction looked at."""
    envelope = Envelope.FromString(content)
    seen: set[str] = set()
    event = kind.message.FromString(envelope.data)
    delivery = Delivery(kind.stream, MOMENT_SECONDS * 1000, 1, envelope, event)
    try:
        await domain.store.react(group.name, delivery, lambda tx, event: reaction(tx, Watched(event, seen)))
    except NotFound:
        # Of its own entities a domain has those of this scratch database: none.
        assert kind.domain == domain.store.domain
    return seen


def missing(domain: str, group: Group, kind: EventType, seen: set[str]) -> list[str]:
    known = declared(domain).get(group.name, {}).get(kind.full_name, {})
    fields = kind.message.DESCRIPTOR.fields_by_name
    return [f"{group.name}: {kind.full_name}: {name}: {field_type(fields[name])}" for name in sorted(seen - set(known))]


@pytest.mark.parametrize("name", DOMAINS)
def test_every_producer_still_has_what_consumers_rely_on(name: str) -> None:
    assert broken(declared(name)) == []


def test_a_field_that_is_gone_or_retyped_is_told_with_its_group() -> None:
    """The control."""
    event = "astra.trading.v1.TradeExecuted"
    told = broken(
        {"revenue_trackers": {event: {"tip": "string", "fee": "string"}, "astra.trading.v1.None": {"a": "string"}}}
    )
    assert told == [
        f"revenue_trackers relies on {event}.tip, which is gone",
        f"revenue_trackers relies on {event}.fee as string; it is astra.type.v1.Money",
        "revenue_trackers relies on astra.trading.v1.None, which is no event of the catalogue",
    ]


def broken(declarations: Declared) -> list[str]:
    """Returns what groups rely on that the events do not keep."""
    events = {kind.full_name: kind.message.DESCRIPTOR.fields_by_name for kind in contracts.events().values()}
    found = []
    for group, relied in declarations.items():
        for event, types in relied.items():
            if event not in events:
                found.append(f"{group} relies on {event}, which is no event of the catalogue")
                continue
            for name, kind in types.items():
                if name not in events[event]:
                    found.append(f"{group} relies on {event}.{name}, which is gone")
                elif (now := field_type(events[event][name])) != kind:
                    found.append(f"{group} relies on {event}.{name} as {kind}; it is {now}")
    return found
