"""Which streams a group reads."""

import pytest
from astra.event.v1.envelope_pb2 import Envelope
from astra.financial.v1.events_pb2 import ComplianceFlagRaised
from astra.gamification.v1.events_pb2 import LevelUp
from astra.trading.v1.events_pb2 import TradeExecuted
from google.protobuf.message import Message

from bridge.groups import Group, routes
from services import contracts
from services.mesh import SERVICES
from services.runtime.transaction import Tx


def react(tx: Tx, event: Message) -> None:
    """Does nothing."""


def other(tx: Tx, event: Message) -> None:
    """Does nothing either."""


@pytest.mark.parametrize("owner", [service.name for service in SERVICES])
def test_wildcard_never_reads_its_own_domain_and_never_a_literal_star(owner: str) -> None:
    found = routes(Group(name="g", consumers=1, reactions={"*": react}), owner)
    assert set(found) == set(contracts.events()) - set(contracts.streams_of(owner))
    assert not any("*" in stream for stream in found)


def test_own_domain_is_read_when_it_is_named() -> None:
    found = routes(Group(name="g", consumers=1, reactions={"trading.*": react}), "trading")
    assert sorted(found) == contracts.streams_of("trading")


def test_own_event_is_read_beside_a_wildcard_when_it_is_named() -> None:
    found = routes(Group(name="g", consumers=1, reactions={"*": react, LevelUp: react}), "gamification")
    own = [stream for stream in found if ".gamification." in stream]
    assert own == ["astra.gamification.level_up.v1"]


def test_named_event_takes_its_own_reaction_rather_than_the_wildcards() -> None:
    found = routes(Group(name="g", consumers=1, reactions={TradeExecuted: other, "*": react}), "social")
    assert found["astra.trading.trade_executed.v1"].reaction is other
    assert found["astra.trading.trade_failed.v1"].reaction is react


def test_excluded_event_is_in_no_wildcard() -> None:
    group = Group(name="g", consumers=1, reactions={"financial.*": react}, excluding=frozenset({ComplianceFlagRaised}))
    found = routes(group, "financial")
    assert set(contracts.streams_of("financial")) - set(found) == {"astra.financial.compliance_flag_raised.v1"}


@pytest.mark.parametrize(
    ("reactions", "consumers", "message"),
    [
        ({"tradng.*": react}, 1, "'tradng.\\*' matches no event"),
        ({"trading.TradeExecuted": react}, 1, "is no wildcard"),
        ({Envelope: react}, 1, "is not marked as an event"),
        ({}, 1, "reads nothing"),
        ({"*": react}, 0, "at least one consumer"),
    ],
)
def test_group_that_cannot_work_is_refused(
    reactions: dict[type[Message] | str, object], consumers: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        routes(Group(name="g", consumers=consumers, reactions=reactions), "social")  # type: ignore[arg-type]
