"""The story's own eyes: a chain as told passes, and each single thing that is wrong with it is seen."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from astra.event.v1.envelope_pb2 import Envelope
from google.protobuf.message import Message

from services import contracts
from tests.story.chains import STORY_3, Act, expected_of_trade
from tests.story.check import chain_differences, domain_counts, stream_differences
from tests.story.streams import Observed

USER = "u-1"
CLIMBER = STORY_3[1]


def told(act: Act) -> list[Observed]:
    """Returns the chain exactly as expected."""
    made: dict[str, Observed] = {}
    for ordinal, expected in enumerate(expected_of_trade(act), start=1):
        event: Any = expected.event()
        for name, value in {**expected.values, "user_id": USER}.items():
            if isinstance(value, Message):
                getattr(event, name).CopyFrom(value)
            elif isinstance(value, list):
                getattr(event, name).extend(value)
            else:
                setattr(event, name, "given" if value is ... else value)
        stream = contracts.stream_of(expected.event)
        kind = contracts.events()[stream]
        envelope = Envelope(
            id=f"event-{ordinal}",
            source=kind.domain,
            type=event.DESCRIPTOR.full_name,
            subject=getattr(event, kind.subject_field),
            dataschema="a file",
            causation_id=made[expected.cause].envelope.id if expected.cause else "",
            producer="a process",
            user_id=USER,
        )
        envelope.time.FromMilliseconds(1000)
        same_stream = sum(entry.stream == stream for entry in made.values())
        made[expected.name] = Observed(stream, f"1000-{same_stream + 1}", envelope, event, 1001.0)
    return list(made.values())


def named(chain: list[Observed], name: str) -> Observed:
    return next(entry for entry in chain if entry.name == name)


def differences(chain: list[Observed]) -> list[str]:
    return [*chain_differences("bob", expected_of_trade(CLIMBER), chain, USER), *stream_differences(chain)]


def test_the_story_has_36_events_shared_out_as_the_domain_says() -> None:
    chains = [told(act) for act in STORY_3]
    assert [len(chain) for chain in chains] == [6, 10, 10, 10]
    counts = domain_counts([entry for chain in chains for entry in chain])
    assert counts == {"trading": 8, "gamification": 7, "social": 7, "user": 7, "financial": 4, "nft": 3}


def test_a_chain_as_told_has_no_differences() -> None:
    assert differences(told(CLIMBER)) == []


def drop(chain: list[Observed]) -> None:
    chain.remove(named(chain, "RewardDistributed"))


def double(chain: list[Observed]) -> None:
    entry = named(chain, "RevenueRecorded")
    envelope = Envelope.FromString(entry.envelope.SerializeToString())
    envelope.id = "another"
    chain.append(replace(entry, stream_id="1000-2", envelope=envelope))


def repeat(chain: list[Observed]) -> None:
    chain.append(replace(named(chain, "LevelUp"), stream_id="1000-2"))


def skip_ordinal(chain: list[Observed]) -> None:
    entry = named(chain, "XpGained")
    chain[chain.index(entry)] = replace(entry, stream_id="1000-2")


def run_backwards(chain: list[Observed]) -> None:
    entry = named(chain, "ProfileUpdated title")
    chain[chain.index(entry)] = replace(entry, stream_id="999-2")


def envelope_of(name: str, field: str, value: str) -> Callable[[list[Observed]], None]:
    return lambda chain: setattr(named(chain, name).envelope, field, value)


def event_of(name: str, field: str, value: object) -> Callable[[list[Observed]], None]:
    return lambda chain: setattr(named(chain, name).event, field, value)


@pytest.mark.parametrize(
    ("spoil", "difference"),
    [
        (drop, "RewardDistributed is missing"),
        (double, "1 RevenueRecorded too many"),
        (repeat, "event event-7 is there 2 times"),
        (skip_ordinal, "its ordinals are not 1 to 1 but [2]"),
        (run_backwards, "its times run backwards: [1000, 999]"),
        (envelope_of("LevelUp", "causation_id", "event-1"), "is caused by TradeExecuted, not by XpGained"),
        (envelope_of("SocialInteraction", "causation_id", ""), "is caused by nothing, not by TradeExecuted"),
        (envelope_of("TradeExecuted", "causation_id", "event-3"), "is caused by XpGained, not by nothing"),
        (envelope_of("XpGained", "source", "trading"), "envelope source is 'trading', not 'gamification'"),
        (envelope_of("XpGained", "user_id", "u-2"), "envelope user_id is 'u-2', not 'u-1'"),
        (envelope_of("LevelUp", "subject", "x"), "envelope subject is 'x', not 'u-1'"),
        (event_of("LevelUp", "user_id", "u-2"), "LevelUp: user_id is 'u-2', not 'u-1'"),
        (event_of("XpGained", "xp", 49), "XpGained: xp is 49, not 50"),
        (event_of("LevelUp", "new_level", 17), "LevelUp: new_level is 17, not 16"),
        (event_of("RewardDistributed", "rarity", 2), "RewardDistributed: rarity is 2, not 3"),
        (event_of("ProfileUpdated title", "title", "Level 15"), "title is 'Level 15', not 'Level 16'"),
        (event_of("ProfileUpdated influence", "influence", 10), "influence is 10, not 5"),
        (event_of("PositionUpdated", "entry_price", "2"), "have different values of entry_price"),
        (event_of("SocialInteraction", "interaction_id", ""), "interaction_id is empty"),
    ],
)
def test_what_is_wrong_is_seen(spoil: Callable[[list[Observed]], None], difference: str) -> None:
    chain = told(CLIMBER)
    spoil(chain)
    assert any(difference in found for found in differences(chain)), differences(chain)
