"""What a mesh says of itself when all is done: read once, compared by many."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from services.local import LocalMesh
from services.mesh import SERVICES
from tests.story.rest import RestClient, Session

Row = Mapping[str, Any]
AT_ONCE = 8

OF_USERS = {
    "portfolio": "portfolio",
    "performance": "performance",
    "progression": "progression",
    "shards": "shards",
    "social": "socialProfile",
    "account": "account",
    "subscription": "subscription",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Answers of the services, by user id where they are a user's, and what no rpc shows of the ledgers."""

    users: Mapping[str, Mapping[str, Any]]
    """By user: the names of OF_USERS, `profile`, `nfts`, `transactions` and `notifications`."""
    board: Sequence[Row]
    feed: Sequence[Row]
    battles: Sequence[Row]
    clans: Sequence[Row]
    revenue: Sequence[Row]
    kpis: Row
    audit: Row
    audited: Sequence[Row]
    entries: Sequence[tuple[str, str, str, int]]
    """Of the money ledger: transfer, owner, currency, change in the smallest unit."""
    shard_entries: Sequence[tuple[str, str, int]]
    """Transfer, account, change."""


async def look(running: LocalMesh, rest: RestClient, admin: Session, users: Sequence[Session]) -> World:
    """Asks for everything."""
    doors = asyncio.Semaphore(AT_ONCE)

    async def all_of(session: Session) -> dict[str, Any]:
        path, found = f"/v1/users/{session.user_id}", {}
        async with doors:
            for name, end in OF_USERS.items():
                found[name] = await rest.get(f"{path}/{end}", session=session)
            found["profile"] = await rest.get(path, session=session)
            for name in ("nfts", "transactions", "notifications"):
                found[name] = await pages(rest, f"{path}/{name}", name, session)
        return found

    everyone = await asyncio.gather(*map(all_of, users))
    return World(
        users={session.user_id: found for session, found in zip(users, everyone, strict=True)},
        board=await pages(rest, "/v1/leaderboards/BOARD_ALL_TIME", "ranks", admin),
        feed=await pages(rest, "/v1/feed", "feedEntries", admin),
        battles=[
            await rest.get(f"/v1/battles/{battle['battleId']}", session=admin)
            for battle in await pages(rest, "/v1/battles", "battles", admin)
        ],
        clans=[
            await rest.get(f"/v1/clans/{clan['clanId']}", session=admin)
            for clan in await pages(rest, "/v1/clans", "clans", admin)
        ],
        revenue=(await rest.get("/v1/revenue", session=admin)).get("revenues", []),
        kpis=await rest.get("/v1/kpis", session=admin),
        audit=await rest.get("/v1/auditEntries:verify", session=admin),
        audited=await pages(rest, "/v1/auditEntries", "auditEntries", admin),
        entries=_query(running, "financial", "SELECT transfer_id, owner, currency, change_minor FROM entry"),
        shard_entries=_query(running, "gamification", "SELECT transfer_id, account, amount FROM shard_entry"),
    )


def sagas(running: LocalMesh) -> list[str]:
    """Returns what services still carry on, by service; a worker of their own pays out battles."""
    unpaid = "SELECT battle_id, user_id FROM fighter WHERE reward > 0 AND paid = 0"
    carried = [
        f"{service.name}: {kind} {key}"
        for service in SERVICES
        for kind, key in _query(running, service.name, "SELECT kind, key FROM saga")
    ]
    return carried + [f"social: reward {battle} {user}" for battle, user in _query(running, "social", unpaid)]


async def pages(rest: RestClient, path: str, name: str, session: Session) -> list[Any]:
    """Returns a whole list, page by page."""
    found: list[Any] = []
    token = ""
    while True:
        page = await rest.get(f"{path}?pageSize=200&pageToken={token}", session=session)
        found += page.get(name, [])
        token = page.get("nextPageToken", "")
        if not token:
            return found


def _query(running: LocalMesh, service: str, sql: str) -> list[Any]:
    uri = f"file:{running.mesh.database(service)}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=10)) as database:
        return database.execute(sql).fetchall()
