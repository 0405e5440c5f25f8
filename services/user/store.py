"""Accounts and profiles in SQL. An account is what registered; a profile is what events tell of a user."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from sqlite3 import Row

from astra.user.v1 import user_pb2 as pb

from services.runtime.errors import NotFound
from services.runtime.transaction import Reader, Tx
from services.user.model import Registration, Role, UserState, VerificationTier, name_key, title_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One registered user, as far as signing in goes."""

    user_id: str
    password_hash: str = field(repr=False)
    names: Sequence[str] = field(repr=False)
    """Username, e-mail address if any, and display name."""
    state: UserState
    roles: Sequence[Role]
    not_before_ms: int
    """Tokens issued before it are refused; it moves whenever the user's access is ended. 0 if it never was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What events tell of one user."""

    level: int
    influence: int
    display_name: str
    """Empty for a user not registered here."""


def username_taken(db: Reader, username: str) -> bool:
    return bool(db.value("SELECT 1 FROM account WHERE username_key = ?", name_key(username)))


def email_taken(db: Reader, email: str) -> bool:
    return bool(db.value("SELECT 1 FROM account WHERE email_key = ?", name_key(email)))


def insert_account(tx: Tx, user_id: str, registration: Registration, password_hash: str) -> None:
    """Adds an account: active, unverified, with the role every user has."""
    tx.execute(
        "INSERT INTO account VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        user_id,
        registration.username,
        name_key(registration.username),
        registration.email or None,
        name_key(registration.email) or None,
        registration.display_name,
        password_hash,
        VerificationTier.UNVERIFIED,
        UserState.ACTIVE,
        tx.now_ms,
    )
    add_role(tx, user_id, Role.USER)


def add_role(tx: Tx, user_id: str, role: Role) -> bool:
    """Gives a role. Returns False if the user had it."""
    return tx.execute("INSERT OR IGNORE INTO account_role VALUES (?, ?)", user_id, role).rowcount == 1


def find_account(db: Reader, username: str) -> Account | None:
    """Returns the account with a username in any case."""
    row = db.one("SELECT * FROM account WHERE username_key = ?", name_key(username))
    return None if row is None else _account(db, row)


def load_account(db: Reader, user_id: str) -> Account:
    """Returns the account of a user. Raises `NotFound`."""
    return _account(db, _row(db, user_id))


def state_of(db: Reader, user_id: str) -> UserState:
    """Returns a user's state. Raises `NotFound`."""
    return UserState(_row(db, user_id)["state"])


def set_state(tx: Tx, user_id: str, state: UserState) -> None:
    tx.execute("UPDATE account SET state = ? WHERE user_id = ?", state, user_id)


def tier_of(db: Reader, user_id: str) -> VerificationTier:
    """Returns how far a user is verified. Raises `NotFound`."""
    return VerificationTier(_row(db, user_id)["verification_tier"])


def set_tier(tx: Tx, user_id: str, tier: VerificationTier) -> None:
    tx.execute("UPDATE account SET verification_tier = ? WHERE user_id = ?", tier, user_id)


def not_before_ms(db: Reader, user_id: str) -> int:
    """Returns the moment before which a user's tokens are refused; 0 if all are good."""
    return int(db.value("SELECT not_before_ms FROM account_access WHERE user_id = ?", user_id) or 0)


def set_not_before(tx: Tx, user_id: str, moment_ms: int) -> None:
    tx.execute("INSERT OR REPLACE INTO account_access VALUES (?, ?)", user_id, moment_ms)


def add_audit(tx: Tx, who: str, action: str, detail: str) -> None:
    """Notes what was done to users, and by whom: a user of the machine, or `user:<id>` for an admin's call."""
    tx.execute("INSERT INTO admin_audit VALUES (?, ?, ?, ?, ?)", tx.new_id(), tx.now_ms, who, action, detail)


def set_display_name(tx: Tx, user_id: str, display_name: str) -> bool:
    """Sets what others see. Returns False if it is that already."""
    sql = "UPDATE account SET display_name = ? WHERE user_id = ? AND display_name <> ?"
    return tx.execute(sql, display_name, user_id, display_name).rowcount == 1


def set_bio(tx: Tx, user_id: str, bio: str) -> bool:
    """Sets what a user tells of itself. Returns False if it is that already."""
    if bio == (tx.value("SELECT bio FROM account_bio WHERE user_id = ?", user_id) or ""):
        return False
    tx.execute("INSERT OR REPLACE INTO account_bio VALUES (?, ?)", user_id, bio)
    return True


def replace_hash(tx: Tx, user_id: str, *, old: str, new: str) -> None:
    """Puts another hash of the same password in; nothing if the password was changed meanwhile."""
    tx.execute("UPDATE account SET password_hash = ? WHERE user_id = ? AND password_hash = ?", new, user_id, old)


def load_user(db: Reader, user_id: str) -> pb.User:
    """Returns a user with its profile, as the user itself may see it. Raises `NotFound` if nobody has this id."""
    row = _row(db, user_id)
    user = _user_message(row, _roles(db, user_id), load_profile(db, user_id))
    user.bio = db.value("SELECT bio FROM account_bio WHERE user_id = ?", user_id) or ""
    return user


def load_profile(db: Reader, user_id: str) -> Profile:
    """Returns what is known of a user; an empty profile at first use."""
    row = db.one("SELECT level, influence FROM profile WHERE user_id = ?", user_id)
    return Profile(
        level=row["level"] if row else 0,
        influence=row["influence"] if row else 0,
        display_name=db.value("SELECT display_name FROM account WHERE user_id = ?", user_id) or "",
    )


def raise_level(tx: Tx, user_id: str, level: int) -> bool:
    """Sets a level above the one kept. Returns False, and changes nothing, for one that is not above it."""
    changed = tx.execute(
        "INSERT INTO profile (user_id, level) VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET level = excluded.level WHERE excluded.level > level",
        user_id,
        level,
    )
    return changed.rowcount == 1


def add_influence(tx: Tx, user_id: str, influence: int) -> None:
    tx.execute(
        "INSERT INTO profile (user_id, influence) VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET influence = influence + excluded.influence",
        user_id,
        influence,
    )


def keep_rating(tx: Tx, user_id: str, rating: str, *, ordinal: int) -> None:
    """Keeps a social rating, unless an event with a higher ordinal told of it already."""
    tx.execute(
        "INSERT INTO profile (user_id, social_rating, social_rating_ordinal) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET social_rating = excluded.social_rating,"
        " social_rating_ordinal = excluded.social_rating_ordinal"
        " WHERE excluded.social_rating_ordinal > social_rating_ordinal",
        user_id,
        rating,
        ordinal,
    )


def _row(db: Reader, user_id: str) -> Row:
    row = db.one("SELECT * FROM account WHERE user_id = ?", user_id)
    if row is None:
        raise NotFound(f"there is no user {user_id}", reason="USER_NOT_FOUND", user_id=user_id)
    return row


def _account(db: Reader, row: Row) -> Account:
    return Account(
        user_id=row["user_id"],
        password_hash=row["password_hash"],
        names=[name for name in (row["username"], row["email"], row["display_name"]) if name],
        state=UserState(row["state"]),
        roles=_roles(db, row["user_id"]),
        not_before_ms=not_before_ms(db, row["user_id"]),
    )


def _roles(db: Reader, user_id: str) -> list[Role]:
    rows = db.all("SELECT role FROM account_role WHERE user_id = ? ORDER BY role", user_id)
    return [Role(row["role"]) for row in rows]


def _user_message(row: Row, roles: Sequence[Role], profile: Profile) -> pb.User:
    user = pb.User(
        user_id=row["user_id"],
        username=row["username"],
        email=row["email"] or "",
        display_name=row["display_name"],
        title=title_of(profile.level),
        influence=profile.influence,
        roles=[pb.Role.Name(role) for role in roles],
        verification_tier=pb.VerificationTier.Name(row["verification_tier"]),
        state=pb.UserState.Name(row["state"]),
    )
    user.create_time.FromMilliseconds(row["create_ms"])
    return user
