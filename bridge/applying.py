"""Applies entries to a store, as everybody does who hands events to a group: consumers, fillers of holes, replays."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from bridge.entries import BadEntry, Entry, decode
from bridge.groups import Reaction, Route
from services.runtime.delivery import Delivery
from services.runtime.inbox import Effect


class Reactor(Protocol):
    """The store's side: applies events once per group."""

    @property
    def domain(self) -> str: ...

    async def react_all(self, group: str, given: Sequence[tuple[Delivery, Reaction]]) -> list[Effect]: ...

    async def park(self, group: str, stream: str, ordinal: int) -> None: ...


async def apply_entries(
    store: Reactor, group: str, routes: Mapping[str, Route], entries: Sequence[Entry]
) -> list[Effect]:
    """Applies entries together and returns what became of each: True, False for applied before, or why it failed."""
    effects: list[Effect] = []
    given: list[tuple[Delivery, Reaction]] = []
    for entry in entries:
        route = routes[entry.stream]
        try:
            given.append((decode(entry, route.kind), route.reaction))
        except BadEntry as error:
            effects.append(error)
        else:
            effects.append(True)
    applied = await store.react_all(group, given) if given else []
    if len(applied) == len(effects):
        return applied
    of_good = iter(applied)
    return [effect if isinstance(effect, BadEntry) else next(of_good) for effect in effects]
