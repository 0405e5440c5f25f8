"""Profiles, interactions, influence and the feed in SQL."""

from sqlite3 import Row

from astra.social.v1.feed_pb2 import FeedEntry, FeedEntryKind
from astra.social.v1.interaction_pb2 import Interaction
from astra.social.v1.interaction_pb2 import InteractionKind as KindProto
from astra.social.v1.social_profile_pb2 import SocialProfile

from services.runtime.money import from_minor, to_minor
from services.runtime.transaction import Reader, Tx
from services.social.model import HOUR_MS, OPENING_RATING, InteractionKind, Rating, shown_influence


def open_profile(tx: Tx, user_id: str) -> bool:
    """Opens a user's profile. Returns False, and changes nothing, if it is open already."""
    opened = tx.execute("INSERT OR IGNORE INTO profile VALUES (?, 0, ?)", user_id, tx.now_ms)
    return opened.rowcount == 1


def count_interaction(tx: Tx, user_id: str) -> None:
    """Counts one more interaction on a user's profile."""
    tx.execute("UPDATE profile SET interaction_count = interaction_count + 1 WHERE user_id = ?", user_id)


def interactions_of_last_hour(tx: Tx, user_id: str) -> list[int]:
    """Returns when a user made the interactions of the last hour, trade shares left out."""
    rows = tx.all(
        "SELECT create_ms FROM interaction WHERE user_id = ? AND target_user_id <> '' AND create_ms > ?",
        user_id,
        tx.now_ms - HOUR_MS,
    )
    return [row["create_ms"] for row in rows]


def insert_interaction(
    tx: Tx, *, user_id: str, target_user_id: str, kind: InteractionKind, text: str, at_ms: int
) -> Interaction:
    """Adds an interaction and returns it as callers see it."""
    interaction = Interaction(
        interaction_id=tx.new_id(),
        user_id=user_id,
        target_user_id=target_user_id,
        kind=KindProto.Name(kind),
        text=text,
    )
    interaction.create_time.FromMilliseconds(at_ms)
    tx.execute(
        "INSERT INTO interaction VALUES (?, ?, ?, ?, ?, ?)",
        interaction.interaction_id,
        user_id,
        target_user_id,
        kind,
        text,
        at_ms,
    )
    return interaction


def insert_feed_entry(tx: Tx, *, user_id: str, kind: FeedEntryKind, text: str, at_ms: int) -> str:
    """Adds a line to the feed and returns its id."""
    feed_entry_id = tx.new_id()
    tx.execute(
        "INSERT INTO feed_entry (feed_entry_id, user_id, kind, text, create_ms) VALUES (?, ?, ?, ?, ?)",
        feed_entry_id,
        user_id,
        kind,
        text,
        at_ms,
    )
    return feed_entry_id


def list_feed(db: Reader, user_id: str, *, before: tuple[int, str] | None, limit: int) -> list[Row]:
    """Returns everyone's entries (no `user_id`) or one user's, newest first, after the one of (create_ms, id)."""
    conditions, parameters = ["1"], list[str | int]()
    if user_id:
        conditions.append("user_id = ?")
        parameters.append(user_id)
    if before:
        conditions.append("(create_ms, feed_entry_id) < (?, ?)")
        parameters += before
    return db.all(
        f"SELECT * FROM feed_entry WHERE {' AND '.join(conditions)}"  # noqa: S608 - the conditions are those above
        " ORDER BY create_ms DESC, feed_entry_id DESC LIMIT ?",
        *parameters,
        limit,
    )


def list_feed_after(db: Reader, user_id: str, seq: int, *, limit: int) -> list[Row]:
    """Returns everyone's entries (no `user_id`) or one user's that came to be after one, oldest first."""
    condition, parameters = ("user_id = ? AND", [user_id]) if user_id else ("", [])
    return db.all(
        f"SELECT * FROM feed_entry WHERE {condition} seq > ? ORDER BY seq LIMIT ?",  # noqa: S608 - one of the two above
        *parameters,
        seq,
        limit,
    )


def last_feed_seq(db: Reader) -> int:
    """Returns the place of the newest entry in the order they came to be; 0 without any."""
    return db.value("SELECT max(seq) FROM feed_entry") or 0


def feed_entry_message(row: Row) -> FeedEntry:
    """Returns a feed entry as callers see it."""
    entry = FeedEntry(
        feed_entry_id=row["feed_entry_id"],
        user_id=row["user_id"],
        kind=FeedEntryKind.Name(row["kind"]),
        text=row["text"],
    )
    entry.create_time.FromMilliseconds(row["create_ms"])
    return entry


def add_influence(tx: Tx, user_id: str, points: int) -> None:
    """Adds points, which may be negative. The order does not matter."""
    tx.execute(
        "INSERT INTO influence VALUES (?, ?) ON CONFLICT DO UPDATE SET points = points + excluded.points",
        user_id,
        points,
    )


def load_rating(db: Reader, user_id: str) -> Rating:
    """Returns a user's rating; the opening one for a user unknown so far."""
    row = db.one("SELECT * FROM rating WHERE user_id = ?", user_id)
    if row is None:
        return Rating(rating=OPENING_RATING, told=OPENING_RATING, endorsements=0)
    return Rating(
        rating=from_minor(row["hundredths"]),
        told=from_minor(row["told_hundredths"]),
        endorsements=row["endorsements"],
    )


def save_rating(tx: Tx, user_id: str, rating: Rating) -> None:
    tx.execute(
        "INSERT OR REPLACE INTO rating VALUES (?, ?, ?, ?)",
        user_id,
        to_minor(rating.rating),
        to_minor(rating.told),
        rating.endorsements,
    )


def profile_message(db: Reader, user_id: str) -> SocialProfile:
    """Returns a profile as callers see it; a fresh one for a user unknown so far."""
    points = db.value("SELECT points FROM influence WHERE user_id = ?", user_id) or 0
    return SocialProfile(
        user_id=user_id,
        influence=shown_influence(points),
        rating=str(load_rating(db, user_id).rating),
        interaction_count=db.value("SELECT interaction_count FROM profile WHERE user_id = ?", user_id) or 0,
        clan_id=db.value("SELECT clan_id FROM clan_member WHERE user_id = ?", user_id) or "",
    )
