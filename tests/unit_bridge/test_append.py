"""The chained append against a real server, with the two obvious ways of publishing as controls that must fail."""

import asyncio
import contextlib
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from bridge.append import Appended, Elsewhere, Entry, append, last_id

STREAM = "astra.trading.trade_executed.v1"
OUTBOX = [Entry(f"{1000 + n // 3}-{n}", b"envelope %d" % n) for n in range(1, 13)]
"""Several entries share a millisecond, as in a burst."""


async def stream_of(redis: Redis) -> list[Entry]:
    entries: Any = await redis.xrange(STREAM)
    return [Entry(id_.decode(), fields[b"e"]) for id_, fields in entries]


async def append_from(redis: Redis, first: int, end: int) -> Appended | Elsewhere:
    """Appends the outbox entries `first` to `end - 1`, counted from 0."""
    return await append(redis, STREAM, OUTBOX[first - 1].id if first else "0-0", OUTBOX[first:end])


async def publish(redis: Redis, batch: int = 5) -> None:
    """Brings the stream to the end of the outbox, as the publisher does: from the id that the stream has."""
    ids = ["0-0", *(entry.id for entry in OUTBOX)]
    at = ids.index(await last_id(redis, STREAM))
    while at < len(OUTBOX):
        assert isinstance(await append_from(redis, at, at + batch), Appended)
        at = ids.index(await last_id(redis, STREAM))


async def test_batches_that_follow_each_other_make_the_outbox(redis: Redis) -> None:
    assert await append_from(redis, 0, 4) == Appended(4, OUTBOX[3].id)
    assert await append_from(redis, 4, 12) == Appended(8, OUTBOX[11].id)
    assert await stream_of(redis) == OUTBOX
    assert await last_id(redis, STREAM) == OUTBOX[11].id


async def test_batch_repeated_after_a_lost_reply_appends_nothing(redis: Redis) -> None:
    await append_from(redis, 0, 4)
    assert await append_from(redis, 0, 4) == Appended(0, OUTBOX[3].id)
    assert await stream_of(redis) == OUTBOX[:4]


async def test_two_bridges_at_once_append_each_entry_once(redis: Redis) -> None:
    answers = await asyncio.gather(*(append_from(redis, 0, end) for end in (5, 3, 12, 7, 12)))
    assert sum(answer.count for answer in answers if isinstance(answer, Appended)) == 12
    assert await stream_of(redis) == OUTBOX


@pytest.mark.parametrize("kept", range(len(OUTBOX) + 1))
async def test_stream_that_lost_its_end_is_completed_from_any_prefix(redis: Redis, kept: int) -> None:
    # A failover or the cut tail of an append-only file takes back what was acknowledged.
    if kept:
        await append_from(redis, 0, kept)
        backup: Any = await redis.dump(STREAM)
        await publish(redis)
        await redis.restore(STREAM, 0, backup, replace=True)
    assert await last_id(redis, STREAM) == (OUTBOX[kept - 1].id if kept else "0-0")
    await publish(redis)
    assert await stream_of(redis) == OUTBOX


async def test_gap_is_refused_and_the_last_id_returned(redis: Redis) -> None:
    await append_from(redis, 0, 3)
    assert await append_from(redis, 5, 8) == Elsewhere(OUTBOX[2].id)
    assert await stream_of(redis) == OUTBOX[:3]


async def test_batch_behind_the_stream_is_refused(redis: Redis) -> None:
    await append_from(redis, 0, 8)
    assert await append_from(redis, 2, 5) == Elsewhere(OUTBOX[7].id)
    assert await stream_of(redis) == OUTBOX[:8]


async def test_stream_made_by_a_group_before_the_first_event_takes_it(redis: Redis) -> None:
    await redis.xgroup_create(STREAM, "early", id="0", mkstream=True)
    assert await last_id(redis, STREAM) == "0-0"
    assert await append_from(redis, 0, 2) == Appended(2, OUTBOX[1].id)
    assert len(await redis.xreadgroup("early", "c", {STREAM: ">"})) == 1


async def test_stream_trimmed_to_nothing_goes_on_after_its_last_id(redis: Redis) -> None:
    await append_from(redis, 0, 6)
    await redis.xtrim(STREAM, maxlen=0, approximate=False)
    assert await append_from(redis, 0, 2) == Elsewhere(OUTBOX[5].id)
    assert await append_from(redis, 6, 12) == Appended(6, OUTBOX[11].id)
    assert await stream_of(redis) == OUTBOX[6:]


FRESH = [Entry(f"9000-{n}", b"fresh %d" % n) for n in range(1, 4)]
STRAY = "stray"


@pytest.mark.parametrize(
    ("there", "prev", "batch"),
    [
        # The same ordinals at other times: by ordinals alone this would be "0 appended", and all of it lost.
        pytest.param([entry.id for entry in OUTBOX[:3]], "0-0", FRESH, id="fresh outbox on an old stream"),
        pytest.param([entry.id for entry in OUTBOX[:5]], "0-0", FRESH, id="fresh outbox, shorter than the old stream"),
        pytest.param([entry.id for entry in OUTBOX[:3]], "8000-3", [Entry("9000-4", b"")], id="another entry 3"),
        pytest.param([entry.id for entry in OUTBOX], OUTBOX[4].id, FRESH, id="service restored from a backup"),
        pytest.param([entry.id for entry in OUTBOX[:4]] + [STRAY], OUTBOX[3].id, OUTBOX[4:], id="stray XADD *"),
        pytest.param([f"0{FRESH[0].id}", FRESH[0].id], FRESH[1].id, FRESH[2:], id="an id missing in between"),
    ],
)
async def test_other_history_is_refused(redis: Redis, there: list[str], prev: str, batch: list[Entry]) -> None:
    for id_ in dict.fromkeys(id_.lstrip("0") for id_ in there):
        await redis.xadd(STREAM, {"e": b"there"}, id="*" if id_ == STRAY else id_)
    before: Any = await redis.xrange(STREAM)
    assert await append(redis, STREAM, prev, batch) == Elsewhere(before[-1][0].decode())
    assert await redis.xrange(STREAM) == before


async def test_key_of_another_type_is_an_error_and_stays(redis: Redis) -> None:
    await redis.set(STREAM, "mine")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await append_from(redis, 0, 2)
    assert await redis.get(STREAM) == b"mine"


async def test_full_server_refuses_the_batch_and_takes_it_later(redis: Redis) -> None:
    await append_from(redis, 0, 2)
    await redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        await append_from(redis, 2, 6)
    assert await append_from(redis, 1, 2) == Appended(0, OUTBOX[1].id)
    await redis.config_set("maxmemory", 0)
    assert await append_from(redis, 3, 6) == Elsewhere(OUTBOX[1].id)
    await publish(redis)
    assert await stream_of(redis) == OUTBOX


async def test_batch_meets_a_full_server_as_a_whole(redis: Redis) -> None:
    # Wherever the limit lies, also where it would be reached by an entry in the middle of the batch.
    large = [Entry(f"5-{n}", b"x" * 100_000) for n in range(1, 41)]
    used = (await redis.info("memory"))["used_memory"]
    lengths = []
    for limit in range(used + 500_000, used + 8_000_000, 500_000):
        await redis.delete(STREAM)
        await redis.config_set("maxmemory", limit)
        with contextlib.suppress(OutOfMemoryError):
            await append(redis, STREAM, "0-0", large)
        await redis.config_set("maxmemory", 0)
        lengths.append(await redis.xlen(STREAM))
    assert set(lengths) == {0, len(large)}


async def test_script_is_sent_in_full_to_a_server_that_forgot_it(redis: Redis) -> None:
    await append_from(redis, 0, 2)
    await redis.script_flush()
    assert await append_from(redis, 2, 4) == Appended(2, OUTBOX[3].id)


async def test_control_plain_xadd_doubles_after_a_lost_reply(redis: Redis) -> None:
    for _ in ("sent", "sent again, the reply was lost"):
        for entry in OUTBOX:
            await redis.xadd(STREAM, {"e": entry.envelope})
    assert len(await stream_of(redis)) == 2 * len(OUTBOX)


async def test_control_pipelined_ids_lose_an_entry_when_memory_frees_in_between(redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        pipe.xadd(STREAM, {"e": OUTBOX[0].envelope}, id=OUTBOX[0].id)
        pipe.config_set("maxmemory", 1)
        pipe.xadd(STREAM, {"e": OUTBOX[1].envelope}, id=OUTBOX[1].id)
        pipe.config_set("maxmemory", 0)
        pipe.xadd(STREAM, {"e": OUTBOX[2].envelope}, id=OUTBOX[2].id)
        answers = await pipe.execute(raise_on_error=False)
    assert isinstance(answers[2], OutOfMemoryError)
    with pytest.raises(ResponseError, match="equal or smaller"):
        await redis.xadd(STREAM, {"e": OUTBOX[1].envelope}, id=OUTBOX[1].id)
    assert await stream_of(redis) == [OUTBOX[0], OUTBOX[2]]


async def test_chained_batches_lose_nothing_where_the_control_does(redis: Redis) -> None:
    await append_from(redis, 0, 1)
    await redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        await append_from(redis, 1, 2)
    await redis.config_set("maxmemory", 0)
    assert await append_from(redis, 2, 3) == Elsewhere(OUTBOX[0].id)
    await publish(redis)
    assert await stream_of(redis) == OUTBOX
