"""The audit trail by what people ask of it: whose, what about, which chain, when."""

from typing import Any

import grpc
import pytest
from astra.analytics.v1 import analytics_service_pb2 as pb
from astra.financial.v1.events_pb2 import PaymentCompleted
from astra.trading.v1.events_pb2 import PositionUpdated, TradeExecuted
from google.protobuf.timestamp_pb2 import Timestamp

from tests.reacting import START_MS, react
from tests.serving import reason_of
from tests.unit_analytics.conftest import ADMIN, Watch


def at(ms: int) -> Timestamp:
    time = Timestamp()
    time.FromMilliseconds(ms)
    return time


async def fill(watch: Watch) -> None:
    """Records four events: two of a trade of alice, one trade of bob, one payment of bob an hour later."""
    first = watch.streams.add(TradeExecuted(trade_id="t1", user_id="alice"), correlation_id="chain-a")
    await react(
        watch.domain,
        "audit_trail_recorders",
        first,
        watch.streams.add(PositionUpdated(trade_id="t1", user_id="alice"), cause=first),
        watch.streams.add(TradeExecuted(trade_id="t2", user_id="bob"), correlation_id="chain-b"),
        watch.streams.add(
            PaymentCompleted(payment_id="p1", user_id="bob"), correlation_id="chain-c", ms=START_MS + 3_600_000
        ),
    )


async def listed(watch: Watch, **asked: Any) -> list[int]:
    """Returns the numbers of the entries, over all pages of one."""
    numbers, token = [], ""
    while True:
        request = pb.ListAuditEntriesRequest(page_size=1, page_token=token, **asked)
        page = await watch.stub.ListAuditEntries(request, metadata=ADMIN)
        numbers += [entry.number for entry in page.audit_entries]
        if not (token := page.next_page_token):
            return numbers


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({}, [1, 2, 3, 4]),
        ({"user_id": "alice"}, [1, 2]),
        ({"user_id": "nobody"}, []),
        ({"stream": "astra.trading.trade_executed.v1"}, [1, 3]),
        ({"stream": "trading"}, [1, 2, 3]),
        ({"stream": "nft"}, []),
        ({"subject": "t1"}, [1, 2]),
        ({"correlation_id": "chain-a"}, [1, 2]),
        ({"start_time": at(START_MS + 1)}, [4]),
        ({"end_time": at(START_MS + 1)}, [1, 2, 3]),
        ({"start_time": at(START_MS), "end_time": at(START_MS)}, []),
        ({"user_id": "bob", "stream": "trading", "end_time": at(START_MS + 1)}, [3]),
    ],
)
async def test_what_matches_every_filter_is_listed(watch: Watch, asked: dict[str, Any], numbers: list[int]) -> None:
    await fill(watch)
    assert await listed(watch, **asked) == numbers


async def test_an_entry_shows_everything_its_hash_covers(watch: Watch) -> None:
    await fill(watch)
    reply = await watch.stub.ListAuditEntries(pb.ListAuditEntriesRequest(), metadata=ADMIN)
    first, second = reply.audit_entries[:2]
    assert (second.type, second.causation_id) == ("astra.trading.v1.PositionUpdated", first.event_id)
    assert second.stream_id == f"{START_MS}-1"
    assert len(bytes.fromhex(second.data_hash)) == 32


@pytest.mark.parametrize("stream", ["astra.trading.nothing.v1", "weather"])
async def test_a_stream_that_is_none_is_refused(watch: Watch, stream: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await listed(watch, stream=stream)
    assert reason_of(caught.value) == "INVALID_FIELD"
