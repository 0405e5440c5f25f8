"""The audit trail: what goes in, that nothing comes out, and that tampering is found and named."""

import hashlib
import sqlite3
from contextlib import closing

import grpc
import pytest
from astra.analytics.v1 import analytics_service_pb2 as pb
from astra.analytics.v1.audit_pb2 import AuditEntry
from astra.nft.v1.events_pb2 import RewardDistributed
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.type.v1.money_pb2 import Money

from bridge.groups import routes
from services import contracts
from services.analytics import api
from services.analytics.chain import GENESIS, START, next_hash
from services.runtime.transaction import Tx
from tests.serving import as_user, reason_of
from tests.unit_analytics.conftest import ADMIN, Watch

REHASH = "UPDATE audit_entry SET hash = ? WHERE number = ?"


def trade(n: int) -> TradeExecuted:
    return TradeExecuted(trade_id=f"t{n}", user_id="alice", amount=Money(currency_code="USD", amount=f"{n}.00"))


async def verify(watch: Watch) -> tuple[bool, int, int]:
    response = await watch.stub.VerifyAuditTrail(pb.VerifyAuditTrailRequest(), metadata=ADMIN)
    return response.intact, response.entry_count, response.first_broken


async def entries(watch: Watch, **page: object) -> list[AuditEntry]:
    request = pb.ListAuditEntriesRequest(**page)  # type: ignore[arg-type]
    return list((await watch.stub.ListAuditEntries(request, metadata=ADMIN)).audit_entries)


def tamper(watch: Watch, *statements: str) -> None:
    """Does what somebody with the file does: drops the triggers and writes."""
    with closing(sqlite3.connect(watch.domain.store.path, isolation_level=None)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in names:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)


def test_what_is_audited_is_money_trades_and_assets(watch: Watch) -> None:
    [group] = [group for group in watch.domain.groups if group.name == "audit_trail_recorders"]
    domains = {contracts.events()[stream].domain for stream in routes(group, "analytics")}
    assert domains == {"financial", "trading", "nft"}
    assert set(routes(group, "analytics")) == {
        stream for stream, event in contracts.events().items() if event.domain in domains
    }


async def test_an_entry_tells_of_its_event(watch: Watch) -> None:
    delivery = watch.streams.add(trade(1))
    await watch.audit(trade(2), RewardDistributed(nft_id="n1", user_id="bob"))
    first, second = await entries(watch)
    assert (first.number, second.number) == (1, 2)
    assert (first.stream, first.user_id, first.subject) == ("astra.trading.trade_executed.v1", "alice", "t2")
    assert (second.stream, second.user_id, second.subject) == ("astra.nft.reward_distributed.v1", "bob", "n1")
    assert first.correlation_id == "chain"
    assert first.time.ToMilliseconds() == delivery.ms
    assert len({first.hash, second.hash}) == 2
    assert len(bytes.fromhex(first.hash)) == 32


async def test_hashes_are_those_that_anybody_can_work_out_from_the_description(watch: Watch) -> None:
    await watch.audit(trade(1), trade(2))
    rows = await watch.domain.store.read(lambda db: db.all("SELECT * FROM audit_entry ORDER BY number"))
    previous = GENESIS
    for row in rows:
        covered = b""
        for value in tuple(row)[:-1]:
            raw = value if isinstance(value, bytes) else str(value).encode()
            covered += len(raw).to_bytes(4, "big") + raw
        previous = hashlib.sha256(previous + covered).digest()
        assert row["hash"] == previous
    assert rows[0]["data_hash"] == hashlib.sha256(trade(1).SerializeToString(deterministic=True)).digest()


def test_no_two_entries_have_the_same_canonical_bytes() -> None:
    assert next_hash(GENESIS, ("ab", "c")) != next_hash(GENESIS, ("a", "bc"))
    assert next_hash(GENESIS, (1, "")) != next_hash(GENESIS, ("", 1))


async def test_a_repeated_event_is_one_entry(watch: Watch) -> None:
    delivery = watch.streams.add(trade(1))
    [group] = [group for group in watch.domain.groups if group.name == "audit_trail_recorders"]
    reaction = routes(group, "analytics")[delivery.stream].reaction
    for name in (group.name, group.name, f"{group.name}:replayed"):
        await watch.domain.store.react(name, delivery, reaction)
    assert await watch.count("audit_entry") == 1


async def test_entries_are_listed_oldest_first_in_pages(watch: Watch) -> None:
    await watch.audit(*map(trade, range(5)))
    token, seen = "", []
    while True:
        request = pb.ListAuditEntriesRequest(page_size=2, page_token=token)
        page = await watch.stub.ListAuditEntries(request, metadata=ADMIN)
        seen += [entry.number for entry in page.audit_entries]
        token = page.next_page_token
        if not token:
            break
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("count", [0, 1, 7])
async def test_an_untampered_trail_is_intact(watch: Watch, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PAGE_ENTRIES", 3)
    await watch.audit(*map(trade, range(count)))
    assert await verify(watch) == (True, count, 0)
    tamper(watch)
    assert await verify(watch) == (True, count, 0)


@pytest.mark.parametrize("page", [1, 3, 1000])
@pytest.mark.parametrize(
    ("statement", "first_broken"),
    [
        ("UPDATE audit_entry SET user_id = 'mallory' WHERE number = 1", 1),
        ("UPDATE audit_entry SET subject = '' WHERE number = 4", 4),
        ("UPDATE audit_entry SET ms = ms + 1 WHERE number = 4", 4),
        ("UPDATE audit_entry SET correlation_id = 'x', user_id = 'y' WHERE number = 7", 7),
        ("UPDATE audit_entry SET data_hash = zeroblob(32) WHERE number = 5", 5),
        ("UPDATE audit_entry SET hash = zeroblob(32) WHERE number = 5", 5),
        ("UPDATE audit_entry SET user_id = CAST(x'ff' AS TEXT) WHERE number = 2", 2),
        ("DELETE FROM audit_entry WHERE number = 1", 1),
        ("DELETE FROM audit_entry WHERE number = 3", 3),
        ("DELETE FROM audit_entry WHERE number >= 6", 6),
        ("DELETE FROM audit_entry", 1),
        ("UPDATE audit_entry SET number = 100 WHERE number = 7", 7),
        ("UPDATE audit_head SET number = 5", 6),
        ("UPDATE audit_head SET hash = zeroblob(32)", 7),
        ("DELETE FROM audit_head", 1),
    ],
)
async def test_tampering_is_found_and_its_first_entry_named(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, statement: str, first_broken: int, page: int
) -> None:
    monkeypatch.setattr(api, "PAGE_ENTRIES", page)
    await watch.audit(*map(trade, range(7)))
    tamper(watch, statement)
    intact, _, found = await verify(watch)
    assert (intact, found) == (False, first_broken)


def rehash(watch: Watch) -> bytes:
    """Works out the hashes of what is there anew and returns the last."""
    previous = START.hash
    with closing(sqlite3.connect(watch.domain.store.path, isolation_level=None)) as connection:
        for row in connection.execute("SELECT * FROM audit_entry ORDER BY number").fetchall():
            previous = next_hash(previous, row[:-1])
            connection.execute(REHASH, (previous, row[0]))
    return previous


async def test_a_trail_rewritten_to_its_end_is_missed_by_its_head(watch: Watch) -> None:
    await watch.audit(*map(trade, range(3)))
    tamper(watch, "UPDATE audit_entry SET user_id = 'mallory' WHERE number = 2")
    rehash(watch)
    assert await verify(watch) == (False, 3, 3)


async def test_an_entry_taken_out_is_missed_by_its_number_though_all_hashes_fit(watch: Watch) -> None:
    await watch.audit(*map(trade, range(3)))
    tamper(watch, "DELETE FROM audit_entry WHERE number = 2")
    tamper(watch, f"UPDATE audit_head SET hash = x'{rehash(watch).hex()}'")
    assert await verify(watch) == (False, 2, 2)


async def test_recording_goes_on_after_tampering_and_the_break_stays_named(watch: Watch) -> None:
    await watch.audit(*map(trade, range(3)))
    tamper(watch, "DELETE FROM audit_entry WHERE number = 3")
    await watch.audit(trade(4))
    assert [entry.number for entry in await entries(watch)] == [1, 2, 4]
    assert await verify(watch) == (False, 3, 3)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET user_id = 'mallory' WHERE number = 1",
        "DELETE FROM audit_entry WHERE number = 2",
        "INSERT OR REPLACE INTO audit_entry SELECT * FROM audit_entry WHERE number = 1",
        "INSERT OR REPLACE INTO audit_entry SELECT 3, event_id, type, stream, stream_id, user_id, subject,"
        " correlation_id, causation_id, ms, data_hash, hash FROM audit_entry WHERE number = 1",
        "INSERT INTO audit_entry SELECT 9, 'e', type, stream, stream_id, user_id, subject,"
        " correlation_id, causation_id, ms, data_hash, hash FROM audit_entry WHERE number = 1",
        "UPDATE audit_head SET number = 1",
        "UPDATE audit_head SET hash = zeroblob(32)",
        "DELETE FROM audit_head",
    ],
)
async def test_the_database_refuses_to_change_what_is_there(watch: Watch, statement: str) -> None:
    await watch.audit(trade(1), trade(2))

    def change(tx: Tx) -> None:
        tx.execute(statement)

    with pytest.raises(sqlite3.IntegrityError, match="audit trail"):
        await watch.domain.store.write(change)
    assert await verify(watch) == (True, 2, 0)


@pytest.mark.parametrize("rpc", ["ListAuditEntries", "VerifyAuditTrail"])
async def test_only_an_admin_sees_the_trail(watch: Watch, rpc: str) -> None:
    request = getattr(pb, f"{rpc}Request")()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(watch.stub, rpc)(request, metadata=as_user("alice"))
    assert reason_of(caught.value) == "ROLE_REQUIRED"
