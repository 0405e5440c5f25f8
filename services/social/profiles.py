"""What a deed does to profiles: the first opens one's own, and praise and its opposite move the target's rating."""

from dataclasses import replace

from astra.social.v1.events_pb2 import SocialProfileCreated, SocialRatingChanged

from services.runtime.money import decimal_text
from services.runtime.transaction import Tx
from services.social import store as sql
from services.social.model import InteractionKind
from services.social.ratings import is_told, moved_rating


def enter_social_life(tx: Tx, user_id: str, *, cause: str) -> None:
    """Opens a user's profile by a deed of its own and tells of it, unless it is open already."""
    if sql.open_profile(tx, user_id):
        tx.record(SocialProfileCreated(user_id=user_id), cause=cause)


def move_rating(tx: Tx, user_id: str, kind: InteractionKind, *, cause: str) -> None:
    """Moves a user's rating as an interaction with it does, and tells of it from a whole point on."""
    old = sql.load_rating(tx, user_id)
    rating = moved_rating(old.rating, kind, endorsements=old.endorsements)
    new = replace(old, rating=rating, endorsements=old.endorsements + (kind is InteractionKind.ENDORSEMENT))
    if new == old:
        return
    if is_told(told=old.told, before=old.rating, after=rating):
        changed = SocialRatingChanged(
            user_id=user_id, old_rating=decimal_text(old.told), new_rating=decimal_text(rating)
        )
        tx.record(changed, cause=cause)
        new = replace(new, told=rating)
    sql.save_rating(tx, user_id, new)
