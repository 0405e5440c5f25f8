"""Battles and their fighters in SQL."""

from collections.abc import Sequence
from decimal import Decimal
from sqlite3 import Row

from astra.social.v1 import battle_pb2 as pb

from services.runtime.errors import NotFound
from services.runtime.money import decimal_text, from_minor, to_minor, to_money
from services.runtime.transaction import Reader, Tx
from services.social.battles import CHALLENGE_MS, BattleState, BattleType, Fighter

SHARDS = "SHARDS"


def insert_battle(tx: Tx, challenger: str, defender: str, kind: BattleType, duration_seconds: int) -> str:
    """Adds a challenge between two clans and returns the battle's id."""
    battle_id = tx.new_id()
    tx.execute(
        "INSERT INTO battle (battle_id, challenger_clan_id, defender_clan_id, type, state, duration_seconds, create_ms,"
        " expire_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        battle_id,
        challenger,
        defender,
        kind,
        BattleState.PENDING,
        duration_seconds,
        tx.now_ms,
        tx.now_ms + CHALLENGE_MS,
    )
    return battle_id


def load_battle(db: Reader, battle_id: str) -> Row:
    """Returns a battle. Raises `NotFound` `BATTLE_NOT_FOUND`."""
    row = db.one("SELECT * FROM battle WHERE battle_id = ?", battle_id)
    if row is None:
        raise NotFound(f"there is no battle {battle_id}", reason="BATTLE_NOT_FOUND", battle_id=battle_id)
    return row


def find_open_battle(db: Reader, clan_id: str, other_clan_id: str) -> Row | None:
    """Returns the battle of two clans that is pending or active."""
    return db.one(
        "SELECT * FROM battle WHERE min(challenger_clan_id, defender_clan_id) = ?"
        " AND max(challenger_clan_id, defender_clan_id) = ? AND state IN (1, 2)",
        *sorted((clan_id, other_clan_id)),
    )


def list_battles(db: Reader, clan_id: str, state: int, *, before: tuple[int, str] | None, limit: int) -> list[Row]:
    """Returns battles of a clan (all if empty) in a state (any if 0), newest first, after one of (create_ms, id)."""
    conditions, parameters = ["1"], list[str | int]()
    if clan_id:
        conditions.append("(challenger_clan_id = ? OR defender_clan_id = ?)")
        parameters += [clan_id, clan_id]
    if state:
        conditions.append("state = ?")
        parameters.append(state)
    if before:
        conditions.append("(create_ms, battle_id) < (?, ?)")
        parameters += before
    return db.all(
        f"SELECT * FROM battle WHERE {' AND '.join(conditions)}"  # noqa: S608 - the conditions are those above
        " ORDER BY create_ms DESC, battle_id DESC LIMIT ?",
        *parameters,
        limit,
    )


def begin_battle(tx: Tx, battle_id: str, *, end_ms: int, fighters: Sequence[Fighter], pot: int) -> None:
    """Makes a battle active from now on, with its fighters."""
    tx.execute(
        "UPDATE battle SET state = ?, start_ms = ?, end_ms = ?, pot = ? WHERE battle_id = ?",
        BattleState.ACTIVE,
        tx.now_ms,
        end_ms,
        pot,
        battle_id,
    )
    for each in fighters:
        tx.execute(
            "INSERT INTO fighter (battle_id, user_id, clan_id) VALUES (?, ?, ?)", battle_id, each.user_id, each.clan_id
        )


def end_battle(tx: Tx, battle_id: str, state: BattleState, *, winner_clan_id: str = "") -> None:
    tx.execute("UPDATE battle SET state = ?, winner_clan_id = ? WHERE battle_id = ?", state, winner_clan_id, battle_id)


def cancel_challenges_of(tx: Tx, clan_id: str) -> None:
    """Cancels the pending challenges to and by a clan."""
    tx.execute(
        "UPDATE battle SET state = ? WHERE state = ? AND (challenger_clan_id = ? OR defender_clan_id = ?)",
        BattleState.CANCELLED,
        BattleState.PENDING,
        clan_id,
        clan_id,
    )


def keep_score(tx: Tx, battle_id: str, user_id: str, score: Decimal, *, ordinal: int) -> None:
    """Keeps a fighter's score, unless one of a higher ordinal is kept. Nothing for a user who does not fight."""
    tx.execute(
        "UPDATE fighter SET score_hundredths = ?, ordinal = ? WHERE battle_id = ? AND user_id = ? AND ordinal < ?",
        to_minor(score),
        ordinal,
        battle_id,
        user_id,
        ordinal,
    )


def set_reward(tx: Tx, battle_id: str, user_id: str, reward: int) -> None:
    tx.execute("UPDATE fighter SET reward = ? WHERE battle_id = ? AND user_id = ?", reward, battle_id, user_id)


def mark_paid(tx: Tx, *, battle_id: str, user_id: str) -> None:
    """Notes that a fighter's reward is on the account."""
    tx.execute("UPDATE fighter SET paid = 1 WHERE battle_id = ? AND user_id = ?", battle_id, user_id)


def list_fighters(db: Reader, battle_id: str) -> list[Fighter]:
    rows = db.all("SELECT * FROM fighter WHERE battle_id = ?", battle_id)
    return [
        Fighter(user_id=row["user_id"], clan_id=row["clan_id"], score=from_minor(row["score_hundredths"]))
        for row in rows
    ]


def battle_message(db: Reader, row: Row, *, with_fighters: bool = False) -> pb.Battle:
    """Returns a battle as callers see it."""
    names = ("battle_id", "challenger_clan_id", "defender_clan_id", "winner_clan_id")
    battle = pb.Battle(
        **{name: row[name] for name in names},
        type=pb.BattleType.Name(row["type"]),
        state=pb.BattleState.Name(row["state"]),
        challenger_score=_clan_score(db, row["battle_id"], row["challenger_clan_id"]),
        defender_score=_clan_score(db, row["battle_id"], row["defender_clan_id"]),
    )
    battle.duration.FromSeconds(row["duration_seconds"])
    for name in ("create", "expire", "start", "end"):
        if row[f"{name}_ms"] is not None:
            getattr(battle, f"{name}_time").FromMilliseconds(row[f"{name}_ms"])
    if row["pot"] is not None:
        battle.pot.CopyFrom(to_money(Decimal(row["pot"]), SHARDS))
    if with_fighters:
        best_first = "SELECT * FROM fighter WHERE battle_id = ? ORDER BY score_hundredths DESC, user_id"
        battle.fighters.extend(map(_fighter_message, db.all(best_first, row["battle_id"])))
    return battle


def _fighter_message(row: Row) -> pb.Battle.Fighter:
    return pb.Battle.Fighter(
        user_id=row["user_id"],
        clan_id=row["clan_id"],
        score=decimal_text(from_minor(row["score_hundredths"])),
        reward=to_money(Decimal(row["reward"]), SHARDS),
    )


def _clan_score(db: Reader, battle_id: str, clan_id: str) -> str:
    total = "SELECT coalesce(sum(score_hundredths), 0) FROM fighter WHERE battle_id = ? AND clan_id = ?"
    return decimal_text(from_minor(db.value(total, battle_id, clan_id)))
