"""AnalyticsService: proto in, model call, proto out."""

from decimal import Decimal
from functools import partial

from astra.analytics.v1 import analytics_service_pb2 as pb
from astra.analytics.v1.kpi_pb2 import Kpi
from astra.analytics.v1.kpi_pb2 import KpiKind as KpiKindProto
from astra.analytics.v1.kpi_pb2 import KpiStatus as KpiStatusProto
from astra.analytics.v1.trace_pb2 import TracedEvent

from services import contracts
from services.analytics import audit
from services.analytics import store as sql
from services.analytics.chain import START
from services.analytics.model import TARGETS, KpiKind, kpi_values, status_of
from services.analytics.tree import Event, concerns, depth_first
from services.runtime.call import Call
from services.runtime.context import CORRELATION_ID
from services.runtime.errors import InvalidArgument, NotFound
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store

PAGE_ENTRIES = 1000
"""Entries of the audit trail checked at a time, a few milliseconds on a reader's thread."""


class AnalyticsApi:
    """Serves the rpcs of analytics."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def trace_correlation(self, request: pb.TraceCorrelationRequest, call: Call) -> pb.TraceCorrelationResponse:
        if not CORRELATION_ID.fullmatch(request.correlation_id):
            raise InvalidArgument("correlation_id must be 1–64 characters A–Z a–z 0–9 _ . -", field="correlation_id")
        events = await self._store.read(lambda db: sql.load_chain(db, request.correlation_id))
        if not events or not (call.caller.is_admin or concerns(events, call.caller.user_id)):
            raise NotFound(
                f"no event of yours carries the correlation id {request.correlation_id} (yet)",
                reason="CORRELATION_NOT_FOUND",
                correlation_id=request.correlation_id,
            )
        start_ms = min(event.ms for event in events)
        return pb.TraceCorrelationResponse(
            events=[_traced(event, depth, start_ms) for event, depth in depth_first(events)]
        )

    async def list_audit_entries(self, request: pb.ListAuditEntriesRequest, call: Call) -> pb.ListAuditEntriesResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, int)
        chosen = _filter(request)
        rows = await self._store.read(
            lambda db: audit.list_entries(db, chosen, after=key[0] if key else 0, limit=size + 1)
        )
        return pb.ListAuditEntriesResponse(
            audit_entries=map(audit.entry_message, rows[:size]),
            next_page_token=page_token(rows[size - 1]["number"]) if len(rows) > size else "",
        )

    async def verify_audit_trail(self, request: pb.VerifyAuditTrailRequest, call: Call) -> pb.VerifyAuditTrailResponse:
        head, last = await self._store.read(lambda db: (audit.head(db), audit.last_number(db)))
        end, walked, broken = START, 0, 0
        # What is appended meanwhile is left to the next check.
        while end.number < last and not broken:
            page = await self._store.read(
                partial(audit.walk_page, after=end, limit=min(PAGE_ENTRIES, last - end.number))
            )
            end, walked, broken = page.end, walked + page.walked, page.first_broken
        if not broken and end != head:
            # Whole as far as it goes, but not what was appended: cut off, longer, or rewritten to its end.
            broken = end.number if end.number == head.number else min(end.number, head.number) + 1
        return pb.VerifyAuditTrailResponse(intact=not broken, entry_count=walked, first_broken=broken)

    async def get_kpis(self, request: pb.GetKpisRequest, call: Call) -> pb.GetKpisResponse:
        now_ms = self._store.clock()
        counts, trades, streams = await self._store.read(
            lambda db: (sql.day_counts(db, now_ms), sql.recent_trades(db, now_ms), sql.stream_metrics(db))
        )
        values = kpi_values(counts, recent_trades=trades)
        return pb.GetKpisResponse(kpis=[_kpi(kind, values[kind]) for kind in KpiKind], streams=streams)


def _filter(request: pb.ListAuditEntriesRequest) -> audit.Filter:
    """Reads what is asked for. Raises `InvalidArgument` for what is no stream and no domain."""
    streams = [name for name, event in contracts.events().items() if request.stream in (name, event.domain)]
    if request.stream and not streams:
        raise InvalidArgument(
            f"{request.stream[:100]!r} is no stream, such as astra.trading.trade_executed.v1, and no domain",
            field="stream",
        )
    return audit.Filter(
        user_id=request.user_id,
        streams=streams if request.stream else (),
        subject=request.subject,
        correlation_id=request.correlation_id,
        start_ms=request.start_time.ToMilliseconds() if request.HasField("start_time") else None,
        end_ms=request.end_time.ToMilliseconds() if request.HasField("end_time") else None,
    )


def _kpi(kind: KpiKind, value: Decimal) -> Kpi:
    goal = TARGETS[kind]
    return Kpi(
        kind=KpiKindProto.Name(kind),
        value=f"{value:f}",
        unit=goal.unit,
        status=KpiStatusProto.Name(status_of(kind, value)),
        target=f"{goal.target:f}",
        warning=f"{goal.warning:f}",
        critical=f"{goal.critical:f}",
    )


def _traced(event: Event, depth: int, start_ms: int) -> TracedEvent:
    traced = TracedEvent(
        event_id=event.event_id,
        causation_id=event.causation_id,
        stream=event.stream,
        stream_id=event.stream_id,
        user_id=event.user_id,
        subject=event.subject,
        depth=depth,
    )
    traced.time.FromMilliseconds(event.ms)
    traced.since_start.FromMilliseconds(event.ms - start_ms)
    return traced
