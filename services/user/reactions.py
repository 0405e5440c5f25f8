"""What users' profiles take from events: titles, influence, ratings; and what users are told of events."""

from astra.gamification.v1.events_pb2 import LevelUp
from astra.social.v1.events_pb2 import SocialInteraction, SocialRatingChanged
from astra.user.v1.events_pb2 import AccountStatusChanged, ProfileUpdated
from google.protobuf.message import Message

from bridge.groups import Group
from services.runtime.transaction import Tx
from services.user import notifications
from services.user import store as sql
from services.user.model import title_of
from services.user.notices import notices_of


def award_title(tx: Tx, event: LevelUp) -> None:
    """Makes the title `Level N` of the highest level a user was seen to reach."""
    if sql.raise_level(tx, event.user_id, event.new_level):
        record_profile(tx, event.user_id, "title")


def add_influence(tx: Tx, event: SocialInteraction) -> None:
    """Adds what an interaction brings to the influence of who did it."""
    if event.influence > 0:
        sql.add_influence(tx, event.user_id, event.influence)
        record_profile(tx, event.user_id, "influence")


def keep_social_rating(tx: Tx, event: SocialRatingChanged) -> None:
    """Keeps the newest rating with the profile.

    No field of `User` shows it yet, so nothing is published; streams are trimmed, and one that will could not be
    filled from them.
    """
    delivery = tx.context.delivery
    assert delivery is not None  # noqa: S101 - reactions have one
    sql.keep_rating(tx, event.user_id, event.new_rating, ordinal=delivery.ordinal)


def notify(tx: Tx, event: Message) -> None:
    """Tells the users whom an event concerns."""
    delivery = tx.context.delivery
    assert delivery is not None  # noqa: S101 - reactions have one
    envelope = delivery.envelope
    for notice in notices_of(event, lambda user_id: sql.load_profile(tx, user_id).display_name):
        notifications.add(tx, notice, event_type=envelope.type, subject=envelope.subject)


def record_profile(tx: Tx, user_id: str, *changed_fields: str, cause: str | None = None) -> None:
    """Records `ProfileUpdated` with the profile as it is now."""
    profile = sql.load_profile(tx, user_id)
    tx.record(
        ProfileUpdated(
            user_id=user_id,
            changed_fields=changed_fields,
            title=title_of(profile.level),
            influence=profile.influence,
            display_name=profile.display_name,
        ),
        cause=cause,
    )


GROUPS = (
    Group(
        name="user_profile_updaters",
        consumers=1,
        reactions={
            LevelUp: award_title,
            SocialInteraction: add_influence,
            SocialRatingChanged: keep_social_rating,
        },
    ),
    Group(name="notification_senders", consumers=3, reactions={"*": notify, AccountStatusChanged: notify}),
)
