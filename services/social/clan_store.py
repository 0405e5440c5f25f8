"""Clans and their members in SQL."""

from collections.abc import Sequence
from sqlite3 import Row

from astra.social.v1 import clan_pb2 as pb

from services.runtime.errors import NotFound
from services.runtime.transaction import Reader, Tx
from services.social.clans import OPENING_RATING, Member, Role, name_key

_COUNTED = (
    "SELECT clan.*, (SELECT count(*) FROM clan_member m WHERE m.clan_id = clan.clan_id) AS member_count FROM clan"
)


def insert_clan(tx: Tx, name: str, description: str) -> str:
    """Adds a clan without members and returns its id."""
    clan_id = tx.new_id()
    tx.execute(
        "INSERT INTO clan (clan_id, name, name_key, description, rating, create_ms) VALUES (?, ?, ?, ?, ?, ?)",
        clan_id,
        name,
        name_key(name),
        description,
        OPENING_RATING,
        tx.now_ms,
    )
    return clan_id


def name_taken(db: Reader, name: str) -> bool:
    return db.one("SELECT 1 FROM clan WHERE name_key = ?", name_key(name)) is not None


def delete_clan(tx: Tx, clan_id: str) -> None:
    """Deletes a clan without members; its battles stay."""
    tx.execute("DELETE FROM clan WHERE clan_id = ?", clan_id)


def load_clan(db: Reader, clan_id: str) -> Row:
    """Returns a clan with its `member_count`. Raises `NotFound` `CLAN_NOT_FOUND`."""
    row = db.one(f"{_COUNTED} WHERE clan_id = ?", clan_id)
    if row is None:
        raise NotFound(f"there is no clan {clan_id}", reason="CLAN_NOT_FOUND", clan_id=clan_id)
    return row


def list_clans(db: Reader, query: str, *, after: tuple[int, str] | None, limit: int) -> list[Row]:
    """Returns clans with this in their name (all if empty), the highest rating first, after one of (rating, id)."""
    rating, clan_id = after or (2**62, "")
    return db.all(
        f"{_COUNTED} WHERE instr(name_key, ?) AND (rating < ? OR rating = ? AND clan_id > ?)"
        " ORDER BY rating DESC, clan_id LIMIT ?",
        name_key(query),
        rating,
        rating,
        clan_id,
        limit,
    )


def add_result(tx: Tx, clan_id: str, *, rating_change: int) -> None:
    """Counts a battle of a clan by what it does to the rating, which stops at 0. Nothing for a dissolved clan."""
    column = "wins" if rating_change > 0 else "losses" if rating_change < 0 else "draws"
    tx.execute(
        f"UPDATE clan SET rating = max(0, rating + ?), {column} = {column} + 1 WHERE clan_id = ?",  # noqa: S608 - as above
        rating_change,
        clan_id,
    )


def insert_member(tx: Tx, member: Member) -> None:
    tx.execute(
        "INSERT INTO clan_member VALUES (?, ?, ?, ?)", member.user_id, member.clan_id, member.role, member.join_ms
    )


def delete_member(tx: Tx, user_id: str) -> None:
    tx.execute("DELETE FROM clan_member WHERE user_id = ?", user_id)


def set_role(tx: Tx, user_id: str, role: Role) -> None:
    tx.execute("UPDATE clan_member SET role = ? WHERE user_id = ?", role, user_id)


def find_member(db: Reader, user_id: str) -> Member | None:
    """Returns a user's place in the one clan it may be in."""
    row = db.one("SELECT * FROM clan_member WHERE user_id = ?", user_id)
    return _member(row) if row else None


def list_members(db: Reader, clan_id: str) -> Sequence[Member]:
    """Returns a clan's members, the highest role first, of equal ones the longest-standing."""
    rows = db.all("SELECT * FROM clan_member WHERE clan_id = ? ORDER BY role, join_ms, user_id", clan_id)
    return [_member(row) for row in rows]


def clan_message(row: Row, members: Sequence[Member] = ()) -> pb.Clan:
    """Returns a clan as callers see it."""
    names = ("clan_id", "name", "description", "rating", "wins", "losses", "draws", "member_count")
    clan = pb.Clan(**{name: row[name] for name in names})
    clan.create_time.FromMilliseconds(row["create_ms"])
    for member in members:
        added = clan.members.add(user_id=member.user_id, role=pb.ClanRole.Name(member.role))
        added.join_time.FromMilliseconds(member.join_ms)
    return clan


def whole_clan_message(db: Reader, clan_id: str) -> pb.Clan:
    """Returns a clan with its members as callers see it. Raises `NotFound`."""
    return clan_message(load_clan(db, clan_id), list_members(db, clan_id))


def _member(row: Row) -> Member:
    return Member(user_id=row["user_id"], clan_id=row["clan_id"], role=Role(row["role"]), join_ms=row["join_ms"])
