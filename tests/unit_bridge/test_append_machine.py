"""Any sequence of faults, with two bridges: the stream is always a part of the outbox, and whole once faults stop."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.exceptions import RedisError

from bridge.append import Appended, Elsewhere, Entry, append, last_id
from bridge.ids import parse
from tests.unit_bridge.model_redis import SCRIPT, STREAM, Both, Line, Model, Real
from tests.unit_bridge.valkey import Valkey

BRIDGES = st.integers(0, 1)
MODEL_RUNS = settings(
    max_examples=80, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
SERVER_RUNS = settings(MODEL_RUNS, max_examples=60, stateful_step_count=25)
HUNT = settings(MODEL_RUNS, max_examples=400, stateful_step_count=25, phases=[Phase.generate])
"""To find a planted fault it need not be made small."""


class Machine(RuleBasedStateMachine):
    """An outbox, two bridges that follow it, and a server on which everything goes wrong."""

    make: Callable[[], Any] = Model
    room = True
    """Whether the server may fill up in the middle of a script."""

    @initialize()
    def begin(self) -> None:
        self.server: Any = type(self).make()
        self.outbox: list[Entry] = []
        self.cursors: list[int | None] = [None, None]
        """Number of entries that each bridge knows to be in the stream; None until it asks."""
        self.delayed: list[tuple[str, list[Entry]]] = []
        """Batches on their way that arrive late, after their bridge was given up."""
        self.strayed: list[tuple[str, bytes]] | None = None
        """What the stream had when somebody else wrote to it."""

    def index_of(self, id_: str) -> int | None:
        """Returns how many outbox entries a stream with that last id has; None if it is of another history."""
        ids = ["0-0", *(entry.id for entry in self.outbox)]
        return ids.index(id_) if id_ in ids else None

    @rule(count=st.integers(1, 5), later_ms=st.integers(0, 2))
    def record(self, count: int, later_ms: int) -> None:
        for _ in range(count):
            ms = (parse(self.outbox[-1].id)[0] if self.outbox else 1000) + later_ms
            ordinal = len(self.outbox) + 1
            self.outbox.append(Entry(f"{ms}-{ordinal}", b"event %d" % ordinal))

    @rule(bridge=BRIDGES)
    def ask(self, bridge: int) -> None:
        self.cursors[bridge] = self.index_of(asyncio.run(last_id(self.server, STREAM)))

    @rule(bridge=BRIDGES, size=st.integers(1, 6), fault=st.sampled_from(["", "", "request", "reply", "late"]))
    def send(self, bridge: int, size: int, fault: str) -> None:
        if self.cursors[bridge] is None:
            self.ask(bridge)
        at = self.cursors[bridge]
        if at is None or at == len(self.outbox):
            return
        prev, batch = self.outbox[at - 1].id if at else "0-0", self.outbox[at : at + size]
        if fault == "late":
            self.delayed.append((prev, batch))
            return
        try:
            answer = asyncio.run(append(Line(self.server, fault), STREAM, prev, batch))  # type: ignore[arg-type]
        except RedisError:
            return  # the bridge knows as much as before: it may repeat, or ask
        self.cursors[bridge] = at + len(batch) if isinstance(answer, Appended) else None

    @rule(bridge=BRIDGES, count=st.integers(1, 4), later_ms=st.integers(0, 2))
    def record_and_send(self, bridge: int, count: int, later_ms: int) -> None:
        self.record(count, later_ms)
        self.send(bridge, count, "")

    @precondition(lambda self: self.delayed)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        prev, batch = self.delayed.pop(data.draw(st.integers(0, len(self.delayed) - 1)))
        try:
            answer = asyncio.run(append(self.server, STREAM, prev, batch))
        except RedisError:
            return
        assert isinstance(answer, Appended | Elsewhere)

    @rule(why=st.sampled_from(["oom", "readonly", "", ""]), room=st.integers(0, 3))
    def refuse(self, why: str, room: int) -> None:
        self.server.refuse(why, room if type(self).room else 0)

    @precondition(lambda self: self.strayed is None)
    @rule(data=st.data())
    def lose_the_end(self, data: st.DataObject) -> None:
        self.server.refuse("")
        entries = self.server.entries
        self.server.roll_back(entries[: data.draw(st.integers(0, len(entries)))])

    @precondition(lambda self: self.strayed is None)
    @rule(keep=st.sampled_from([0, 0, 1, 5]))
    def trim(self, keep: int) -> None:
        self.server.refuse("")
        self.server.trim(keep)

    @precondition(lambda self: self.strayed is None)
    @rule(by_ms=st.integers(0, 3), ordinal=st.integers(0, 9))
    def stray(self, by_ms: int, ordinal: int) -> None:
        """Somebody writes to the stream: an id that no entry of the outbox has, or will have."""
        ms, last = parse(self.server.last)
        id_ = f"{ms + 1}-{last}" if by_ms == 0 else f"{10**6 + by_ms}-{ordinal}"
        if self.index_of(id_) is None and not self.may_come(id_):
            self.server.refuse("")
            before = list(self.server.entries)
            self.server.add(id_, b"stray")
            self.strayed = before

    def may_come(self, id_: str) -> bool:
        return parse(id_)[1] > len(self.outbox) and parse(id_)[0] < 10**6

    @precondition(lambda self: self.strayed is not None)
    @rule()
    def reconcile(self) -> None:
        self.server.refuse("")
        self.server.roll_back(self.strayed)
        self.strayed = None
        self.cursors = [None, None]

    @invariant()
    def stream_is_a_part_of_the_outbox(self) -> None:
        if not hasattr(self, "server"):
            return
        found = self.server.entries
        if self.strayed is not None:
            assert len(found) <= len(self.strayed) + 1, "written to beside another history"
            return
        end = self.index_of(self.server.last)
        assert end is not None, f"{self.server.last} is no id of the outbox"
        wanted = [(entry.id, entry.envelope) for entry in self.outbox[end - len(found) : end]]
        assert found == wanted, "the stream is no part of the outbox"

    def teardown(self) -> None:
        """Faults stop: a bridge that only asks and sends makes the stream whole."""
        if not hasattr(self, "server"):
            return
        self.server.refuse("")
        if self.strayed is not None:
            self.reconcile()
        while self.delayed:
            prev, batch = self.delayed.pop()
            with suppress(RedisError):
                asyncio.run(append(self.server, STREAM, prev, batch))
        for _ in range(len(self.outbox) + 1):
            self.ask(0)
            self.send(0, 3, "")
        self.stream_is_a_part_of_the_outbox()
        assert self.server.last == (self.outbox[-1].id if self.outbox else "0-0"), "the end never arrives"


def machine(make: Callable[[], Any], *, room: bool) -> type[Machine]:
    return type("Machine", (Machine,), {"make": staticmethod(make), "room": room})


def test_stream_is_always_a_part_of_the_outbox_on_the_model() -> None:
    run_state_machine_as_test(machine(Model, room=True), settings=MODEL_RUNS)


PLANTED = {
    "no look at where the stream ends": ("if last == ARGV[1] then", "if true then"),
    "prev is compared by its ordinal": (
        "if last == ARGV[1] then",
        "if last:match('%d+$') == ARGV[1]:match('%d+$') then",
    ),
    "the last entry present is taken for the last id": (
        "last = info[i + 1]",
        "local e = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1); last = e[1] and e[1][1] or '0-0'",
    ),
    "the first entry of a batch is skipped": ("first = 2\n", "first = 4\n"),
}
"""Faults that lose events, or write beside another history: what the stream holds gives them away."""

TOLD_BY_ANSWERS = {
    "ordinals alone are compared": ("if ARGV[i] == last then", "if ARGV[i]:match('%d+$') == last:match('%d+$') then"),
    "the entry that is there is sent again": ("first = i + 2", "first = i"),
    "a batch in the middle is not recognised": ("first = i + 2", "first = nil"),
}
"""Faults that cost another try, since a bridge asks anew, or need more than one mishap: the answers give them away."""


@pytest.fixture
def hunt(shared_server: Valkey) -> Iterator[Callable[..., None]]:
    """Runs the machine on the server with a script, beside the model or alone."""
    server = Real(shared_server.port)

    def run(script: str, beside_model: bool, runs: settings = HUNT) -> None:
        server.script = script

        def make() -> Any:
            server.clear()
            return Both(server) if beside_model else server

        run_state_machine_as_test(machine(make, room=False), settings=runs)

    yield run
    server.close()


@pytest.mark.parametrize("fault", [*PLANTED, *TOLD_BY_ANSWERS])
def test_planted_fault_in_the_script_is_found(hunt: Callable[..., None], fault: str) -> None:
    right, wrong = {**PLANTED, **TOLD_BY_ANSWERS}[fault]
    script = SCRIPT.replace(right, wrong)
    assert script != SCRIPT
    with pytest.raises(AssertionError):
        hunt(script, fault in TOLD_BY_ANSWERS)


def test_the_script_as_it_is_survives_a_hunt(hunt: Callable[..., None]) -> None:
    hunt(SCRIPT, False, SERVER_RUNS)


def test_the_model_answers_as_the_server_does(shared_server: Valkey) -> None:
    server = Real(shared_server.port)

    def both() -> Both:
        server.clear()
        return Both(server)

    run_state_machine_as_test(machine(both, room=False), settings=SERVER_RUNS)
    server.close()
