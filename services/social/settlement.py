"""The life of a battle after its challenge: scores by event, its end and its lapse by timer."""

from collections.abc import Mapping
from decimal import Decimal

from astra.social.v1.events_pb2 import ClanBattleCompleted
from astra.trading.v1.events_pb2 import ClanBattleScoreUpdated

from services.runtime.money import to_money
from services.runtime.timers import Timer, set_timer
from services.runtime.transaction import Tx
from services.social import battle_store as sql
from services.social import clan_store
from services.social.battles import (
    POT_PER_FIGHTER,
    SETTLE_AFTER_MS,
    BattleState,
    BattleType,
    Fighter,
    scaled_score,
    settle,
)

_COMPLETE = "complete_battle"
_EXPIRE = "expire_challenge"


def challenge(tx: Tx, challenger: str, defender: str, kind: BattleType, duration_seconds: int) -> str:
    """Makes a challenge that lapses by itself, and returns the battle's id."""
    battle_id = sql.insert_battle(tx, challenger, defender, kind, duration_seconds)
    set_timer(tx, _EXPIRE, battle_id, sql.load_battle(tx, battle_id)["expire_ms"])
    return battle_id


def begin(tx: Tx, battle_id: str) -> None:
    """Begins a battle: the members of both clans now are its fighters, whoever joins or leaves later."""
    battle = sql.load_battle(tx, battle_id)
    fighters = [
        Fighter(user_id=member.user_id, clan_id=clan_id, score=Decimal(0))
        for clan_id in (battle["challenger_clan_id"], battle["defender_clan_id"])
        for member in clan_store.list_members(tx, clan_id)
    ]
    end_ms = tx.now_ms + battle["duration_seconds"] * 1000
    sql.begin_battle(tx, battle_id, end_ms=end_ms, fighters=fighters, pot=POT_PER_FIGHTER * len(fighters))
    set_timer(tx, _COMPLETE, battle_id, end_ms + SETTLE_AFTER_MS)


def keep_battle_score(tx: Tx, event: ClanBattleScoreUpdated) -> None:
    """Keeps a fighter's score, if the trade was made while the battle went on and none later has told it already."""
    delivery = tx.context.delivery
    if delivery is None:
        raise RuntimeError("scores are kept by a reaction alone: the event's time and ordinal count")
    battle = tx.one("SELECT * FROM battle WHERE battle_id = ?", event.battle_id)
    if battle is None or battle["state"] != BattleState.ACTIVE:
        return
    if battle["start_ms"] <= delivery.ms < battle["end_ms"]:
        score = scaled_score(Decimal(event.score), BattleType(battle["type"]))
        sql.keep_score(tx, event.battle_id, event.user_id, score, ordinal=delivery.ordinal)


def complete_battle(tx: Tx, battle_id: str) -> None:
    """Settles a battle whose time is up: winner, ratings, and who gets what of the pot."""
    battle = sql.load_battle(tx, battle_id)
    if battle["state"] != BattleState.ACTIVE:
        return
    challenger, defender = battle["challenger_clan_id"], battle["defender_clan_id"]
    outcome = settle(challenger, defender, sql.list_fighters(tx, battle_id), battle["pot"])
    sql.end_battle(tx, battle_id, BattleState.COMPLETED, winner_clan_id=outcome.winner_clan_id)
    for clan_id, change in outcome.rating_changes.items():
        clan_store.add_result(tx, clan_id, rating_change=change)
    for user_id, reward in outcome.rewards.items():
        sql.set_reward(tx, battle_id, user_id, reward)
    tx.record(
        ClanBattleCompleted(
            battle_id=battle_id,
            winner_clan_id=outcome.winner_clan_id,
            challenger_clan_id=challenger,
            defender_clan_id=defender,
            shares=[
                ClanBattleCompleted.Share(user_id=user_id, amount=to_money(Decimal(reward), sql.SHARDS))
                for user_id, reward in outcome.rewards.items()
                if reward
            ],
        )
    )


def expire_challenge(tx: Tx, battle_id: str) -> None:
    """Lets a challenge lapse that nobody accepted in time."""
    if sql.load_battle(tx, battle_id)["state"] == BattleState.PENDING:
        sql.end_battle(tx, battle_id, BattleState.EXPIRED)


TIMERS: Mapping[str, Timer] = {_COMPLETE: complete_battle, _EXPIRE: expire_challenge}
