"""The rules of battles: who may fight whom, what a score is worth, who wins, and how the pot is shared out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.money import round_money

MIN_FIGHTERS = 5
"""Fewest members of a clan that fights; the most are all a clan may have."""
MAX_RATING_GAP = 500
MIN_HOURS, DEFAULT_HOURS, MAX_HOURS = 1, 24, 168
CHALLENGE_MS = 24 * 3600 * 1000
"""How long a challenge may be accepted."""
SETTLE_AFTER_MS = 2000
"""How long after its end a battle is settled: scores of trades made before the end may still be on their way."""
RATING_FOR_WIN, RATING_FOR_LOSS = 20, -10
POT_PER_FIGHTER = 20
"""SHARDS that the mesh puts into the pot for each fighter. Nobody stakes anything: no clan can spend its members'."""
WINNER_PARTS, LOSER_PARTS = 8, 2
_HOUR_SECONDS = 3600


class BattleType(IntEnum):
    """As `astra.social.v1.BattleType`."""

    TRADING_DUEL = 1
    STELLAR_SUPREMACY = 2
    COSMIC_CONQUEST = 3


class BattleState(IntEnum):
    """As `astra.social.v1.BattleState`."""

    PENDING = 1
    ACTIVE = 2
    COMPLETED = 3
    DECLINED = 4
    EXPIRED = 5
    CANCELLED = 6


MULTIPLIERS: Mapping[BattleType, Decimal] = {
    BattleType.TRADING_DUEL: Decimal("1.0"),
    BattleType.STELLAR_SUPREMACY: Decimal("0.8"),
    BattleType.COSMIC_CONQUEST: Decimal("1.2"),
}
"""What a score is multiplied by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fighter:
    """One user in a battle."""

    user_id: str
    clan_id: str
    score: Decimal
    """Already scaled, 2 places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How a battle ended."""

    winner_clan_id: str
    """Empty for a draw."""
    rating_changes: Mapping[str, int]
    """By clan."""
    rewards: Mapping[str, int]
    """SHARDS by user; they sum to the pot."""


def battle_type(value: int) -> BattleType:
    """Returns the type asked for. Raises `InvalidArgument` for one that there is not."""
    try:
        return BattleType(value)
    except ValueError:
        names = ", ".join(each.name for each in BattleType)
        raise InvalidArgument(f"type must be one of {names}", field="type") from None


def check_state_filter(value: int) -> None:
    """Raises `InvalidArgument` for a state that there is not; 0 is every state."""
    if value and value not in list(BattleState):
        names = ", ".join(each.name for each in BattleState)
        raise InvalidArgument(f"state must be one of {names}, or not set", field="state")


def duration_seconds(seconds: int, nanos: int, *, given: bool) -> int:
    """Returns how long a battle lasts, 24 h unless given. Raises `InvalidArgument` for anything but 1–168 h."""
    if not given:
        return DEFAULT_HOURS * _HOUR_SECONDS
    if nanos or not MIN_HOURS * _HOUR_SECONDS <= seconds <= MAX_HOURS * _HOUR_SECONDS:
        raise InvalidArgument(
            f"duration must be {MIN_HOURS}–{MAX_HOURS} h ({MIN_HOURS * _HOUR_SECONDS}–{MAX_HOURS * _HOUR_SECONDS} s)"
            " in whole seconds",
            field="duration",
        )
    return seconds


def check_match(ratings: Sequence[int], sizes: Sequence[int]) -> None:
    """Raises `FailedPrecondition` for clans that are too small to fight or too far apart in rating."""
    if min(sizes) < MIN_FIGHTERS:
        raise FailedPrecondition(
            f"a battle takes {MIN_FIGHTERS} members on both sides; there are {sizes[0]} and {sizes[1]}",
            reason="CLAN_TOO_SMALL",
            limit=str(MIN_FIGHTERS),
        )
    gap = abs(ratings[0] - ratings[1])
    if gap > MAX_RATING_GAP:
        raise FailedPrecondition(
            f"the ratings of the clans are {gap} apart; at most {MAX_RATING_GAP} are allowed",
            reason="RATING_GAP_TOO_WIDE",
            limit=str(MAX_RATING_GAP),
            gap=str(gap),
        )


def scaled_score(score: Decimal, kind: BattleType) -> Decimal:
    """Returns what a score counts in a battle of this type, 2 places; never below 0."""
    return round_money(max(Decimal(0), score * MULTIPLIERS[kind]))


def settle(challenger_clan_id: str, defender_clan_id: str, fighters: Sequence[Fighter], pot: int) -> Settlement:
    """Returns who won, what that does to the ratings, and who gets what.

    The higher sum of scores wins. 80 % of the pot go to the winner and 20 % to the loser, or half to each on a draw;
    within a clan it is shared by the scores, or evenly where nobody scored.
    """
    sides = {
        clan_id: sorted((each for each in fighters if each.clan_id == clan_id), key=lambda each: each.user_id)
        for clan_id in (challenger_clan_id, defender_clan_id)
    }
    sums = {clan_id: sum((each.score for each in side), Decimal(0)) for clan_id, side in sides.items()}
    if sums[challenger_clan_id] == sums[defender_clan_id]:
        winner, parts, changes = "", dict.fromkeys(sides, 1), dict.fromkeys(sides, 0)
    else:
        winner = max(sums, key=lambda clan_id: sums[clan_id])
        parts = {clan_id: WINNER_PARTS if clan_id == winner else LOSER_PARTS for clan_id in sides}
        changes = {clan_id: RATING_FOR_WIN if clan_id == winner else RATING_FOR_LOSS for clan_id in sides}
    rewards: dict[str, int] = {}
    for (_, side), part in zip(sides.items(), split(pot, [Decimal(parts[each]) for each in sides]), strict=True):
        shares = split(part, [each.score for each in side])
        rewards |= {each.user_id: share for each, share in zip(side, shares, strict=True)}
    return Settlement(winner_clan_id=winner, rating_changes=changes, rewards=rewards)


def split(amount: int, weights: Sequence[Decimal]) -> list[int]:
    """Returns whole parts of an amount in proportion to weights ≥ 0, evenly if all are 0; they sum to the amount.

    What rounding down leaves over goes, one each, to the largest remainders, of equal ones to the first.
    """
    total = sum(weights, Decimal(0))
    if not total:
        weights, total = [Decimal(1)] * len(weights), Decimal(len(weights))
    # In integers: a quotient of decimals is rounded, and rounded up to a whole part it would sum to too much.
    scale = 10 ** max(0, *(-int(weight.as_tuple().exponent) for weight in weights))
    whole_weights, whole_total = [int(weight * scale) for weight in weights], int(total * scale)
    parts = [amount * weight // whole_total for weight in whole_weights]
    remainders = [amount * weight % whole_total for weight in whole_weights]
    largest = sorted(range(len(parts)), key=lambda at: (-remainders[at], at))
    for at in largest[: amount - sum(parts)]:
        parts[at] += 1
    return parts
