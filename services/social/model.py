"""The rules of social life: what may be done how often, what influence it brings, and how a rating moves it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from enum import IntEnum

from services.runtime.errors import InvalidArgument, ResourceExhausted

OPENING_RATING = Decimal("50.00")
INTERACTIONS_PER_HOUR = 10
"""Interactions a user may make in any 60 minutes; trade shares do not count."""
HOUR_MS = 3600 * 1000
MAX_TEXT_CHARACTERS = 500
FEED_ENTRY_INFLUENCE = 1
"""What the feed telling of a user brings that user."""


class InteractionKind(IntEnum):
    """As `astra.social.v1.InteractionKind`."""

    LIKE = 1
    COMMENT = 2
    SHARE = 3
    FOLLOW = 4
    TRADE_SHARE = 5
    ENDORSEMENT = 6
    NEGATIVE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """How a user is rated."""

    rating: Decimal
    """0–100 with 2 places."""
    told: Decimal
    """As events told it last."""
    endorsements: int
    """How many the user has received."""


INFLUENCE: Mapping[InteractionKind, int] = {
    InteractionKind.LIKE: 1,
    InteractionKind.COMMENT: 2,
    InteractionKind.SHARE: 3,
    InteractionKind.FOLLOW: 1,
    InteractionKind.TRADE_SHARE: 5,
    InteractionKind.ENDORSEMENT: 1,
    InteractionKind.NEGATIVE: 0,
}
"""What an interaction brings the user who made it."""

ASKED_FOR = [kind for kind in InteractionKind if kind is not InteractionKind.TRADE_SHARE]
"""Kinds that users ask for; trades are shared by the mesh."""


def requested_kind(value: int) -> InteractionKind:
    """Returns the kind a user asks for. Raises `InvalidArgument` for one that none may ask for."""
    if value not in ASKED_FOR:
        raise InvalidArgument(f"kind must be one of {', '.join(kind.name for kind in ASKED_FOR)}", field="kind")
    return InteractionKind(value)


def check_interaction(kind: InteractionKind, *, user_id: str, target_user_id: str, text: str) -> None:
    """Raises `InvalidArgument` for an interaction with oneself, or a text that does not fit its kind."""
    if target_user_id == user_id:
        raise InvalidArgument("target_user_id must be another user than the one who acts", field="target_user_id")
    if kind is not InteractionKind.COMMENT:
        if text:
            raise InvalidArgument(f"text belongs to a COMMENT; leave it empty for a {kind.name}", field="text")
        return
    if not text.strip():
        raise InvalidArgument("a COMMENT needs a text", field="text")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidArgument(f"text has {len(text)} characters; at most {MAX_TEXT_CHARACTERS} fit", field="text")


def check_hour(made_ms: Sequence[int], now_ms: int) -> None:
    """Raises `ResourceExhausted` for a user whose interactions were made at these times and who makes another now."""
    recent = sorted(at_ms for at_ms in made_ms if at_ms > now_ms - HOUR_MS)
    if len(recent) < INTERACTIONS_PER_HOUR:
        return
    wait_seconds = -((now_ms - HOUR_MS - recent[-INTERACTIONS_PER_HOUR]) // 1000)
    raise ResourceExhausted(
        f"{INTERACTIONS_PER_HOUR} interactions an hour are allowed; the next one is in {wait_seconds} s",
        reason="INTERACTION_LIMIT_REACHED",
        limit=str(INTERACTIONS_PER_HOUR),
        retry_after_seconds=str(wait_seconds),
    )


def rating_influence(old_rating: Decimal, new_rating: Decimal) -> int:
    """Returns the influence that a change of rating brings or takes: its whole points."""
    return int((new_rating - old_rating).to_integral_value(ROUND_DOWN))


def shown_influence(points: int) -> int:
    """Returns the influence that callers see, never below 0.

    The points themselves may be, so that they add up to the same in whatever order they come.
    """
    return max(0, points)
