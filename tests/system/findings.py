"""What does not agree, and the events to compare with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.story.rest import Session
from tests.story.streams import Observed
from tests.system.journal import Journal
from tests.system.world import World


class Findings:
    """Collects what does not agree."""

    def __init__(self) -> None:
        self.differences: list[str] = []

    def same(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.differences.append(f"{what}: found {found}, expected {expected}")

    def same_items(self, what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
        """Compares item by item, so that a difference says where it is; what is not there counts as 0 or nothing."""
        for key in sorted({*found, *expected}, key=str):
            one, other = found.get(key), expected.get(key)
            if (one or other) and one != other:
                self.same(f"{what} of {key}", one, other)

    def acknowledged(self, what: str, done: Iterable[str], answers: Mapping[str, str]) -> None:
        """Compares what was done with what callers were answered, by id the state that was told.

        COMPLETED must have been done; PENDING, which a kill in between makes, may have been; nothing else was.
        """
        told = {key for key, state in answers.items() if state.endswith("_COMPLETED")}
        self.same(f"{what} that were told and not done", sorted(told - set(done)), [])
        self.same(f"{what} that were done and not told", sorted(set(done) - set(answers)), [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is compared."""

    users: Sequence[Session]
    journal: Journal
    world: World
    seen: Sequence[Observed]

    def events(self, name: str) -> list[Any]:
        """Returns the events of a name, in the order of their stream."""
        return [entry.event for entry in self.entries(name)]

    def entries(self, name: str) -> list[Observed]:
        found = [entry for entry in self.seen if entry.event.DESCRIPTOR.name == name]
        return sorted(found, key=lambda entry: entry.ordinal)
