"""Compares what callers were promised with the outboxes, those with the streams, and the effects with the events."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from astra.event.v1.envelope_pb2 import Envelope
from astra.gamification.v1.events_pb2 import XpGained, XpSource
from astra.trading.v1.events_pb2 import TradeExecuted
from redis.asyncio import Redis

from services import contracts
from services.mesh import Mesh
from tests.chaos import records
from tests.chaos.ledger import is_poison
from tests.chaos.records import Row

EXECUTED = contracts.stream_of(TradeExecuted)
XP_GAINED = contracts.stream_of(XpGained)


@dataclass(slots=True)
class Comparison:
    """One list held against another."""

    what: str
    count: int = 0
    lost: int = 0
    doubled: int = 0
    misplaced: int = 0
    """In another place than it should be, or not byte for byte what it should be, or nothing anybody asked for."""
    trimmed: int = 0
    """Rows that are not there to be compared any more, because every group had finished them."""
    first: list[str] = field(default_factory=list)
    """The first few that are wrong."""

    def add(self, name: str, wanted: Sequence[Hashable], found: Sequence[Hashable]) -> None:
        """Counts what is wrong with what was found."""
        counts, asked = Counter(found), set(wanted)
        lost = [one for one in wanted if not counts[one]]
        doubled = [one for one, count in counts.items() if count > 1]
        strange = [one for one in counts if one not in asked]
        self.count += len(wanted)
        self.lost += len(lost)
        self.doubled += len(doubled)
        self.misplaced += len(strange)
        for kind, those in (("lost", lost), ("doubled", doubled), ("strange", strange)):
            self.first += [f"{name}: {kind} {one}" for one in those[:3]]

    @property
    def right(self) -> bool:
        return not (self.lost or self.doubled or self.misplaced)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Every comparison of a run."""

    journal: Comparison
    streams: Comparison
    effects: Comparison
    chains: Comparison

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        return (self.journal, self.streams, self.effects, self.chains)

    @property
    def right(self) -> bool:
        return all(comparison.right and comparison.count for comparison in self.comparisons)


async def compare(
    mesh: Mesh, services: Sequence[str], redis: Redis, journal: Mapping[str, str], *, trim: bool
) -> Verdict:
    """Compares everything. Nothing may be going on any more."""
    outboxes = records.outboxes(mesh, services)
    streams = {stream: await records.stream_rows(redis, stream) for stream in outboxes}
    return Verdict(
        journal=_journal(journal, outboxes),
        streams=compare_streams(outboxes, streams, trim=trim),
        effects=await _effects(mesh, services, redis, outboxes),
        chains=_chains(outboxes),
    )


def _journal(journal: Mapping[str, str], outboxes: Mapping[str, Sequence[Row]]) -> Comparison:
    """Every trade that was acknowledged is in the outbox once; callers insist, so there is no other."""
    result = Comparison("acknowledged commands in the outbox")
    executed = [TradeExecuted.FromString(envelope.data).trade_id for envelope in _envelopes(outboxes.get(EXECUTED, ()))]
    result.add("trades", list(journal.values()), executed)
    return result


def compare_streams(
    outboxes: Mapping[str, Sequence[Row]], streams: Mapping[str, Sequence[Row]], *, trim: bool
) -> Comparison:
    """A stream is its outbox, row by row; with `trim`, what every group has finished may be gone from its front."""
    result = Comparison("outbox rows in the streams")
    for stream, rows in outboxes.items():
        found = streams[stream]
        wanted, ids = [row.event_id for row in rows], [row.event_id for row in found]
        trimmed = wanted.index(ids[0]) if trim and ids and ids[0] in wanted else 0
        result.trimmed += trimmed
        result.add(stream, wanted[trimmed:], ids)
        wrong = [(row.id, other.id) for row, other in zip(rows[trimmed:], found, strict=False) if row != other]
        result.misplaced += len(wrong)
        result.first += [f"{stream}: {other} where {row} should be" for row, other in wrong[:1]]
    return result


async def _effects(
    mesh: Mesh, services: Sequence[str], redis: Redis, outboxes: Mapping[str, Sequence[Row]]
) -> Comparison:
    """Each event had its effect once in each group that reads it; or, where the effect fails, is a dead letter once."""
    result = Comparison("effects of the events, and dead letters")
    for service, group, stream in records.reads(mesh, services):
        rows = outboxes.get(stream, ())
        dead = {row.ordinal for row in rows if is_poison(row.ordinal)}
        wanted = [(row.ordinal, row.event_id) for row in rows if row.ordinal not in dead]
        result.add(f"{group} on {stream}", wanted, records.effects(mesh, service, group, stream))
        buried = await records.dead_letters(redis, stream, group)
        result.add(f"dead letters of {group} on {stream}", sorted(dead), buried)
    return result


def _chains(outboxes: Mapping[str, Sequence[Row]]) -> Comparison:
    """What the product itself did: one award of XP for each trade, whatever the ledger says."""
    result = Comparison("XP awarded for the trades")
    rows = outboxes.get(EXECUTED, ())
    wanted = [envelope.id for row, envelope in zip(rows, _envelopes(rows), strict=True) if not is_poison(row.ordinal)]
    awards = [
        envelope.causation_id
        for envelope in _envelopes(outboxes.get(XP_GAINED, ()))
        if XpGained.FromString(envelope.data).source == XpSource.XP_SOURCE_TRADE
    ]
    result.add(XP_GAINED, wanted, awards)
    return result


def _envelopes(rows: Iterable[Row]) -> list[Envelope]:
    return [Envelope.FromString(row.envelope) for row in rows]
