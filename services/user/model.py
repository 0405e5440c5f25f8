"""Rules of users, pure: names, e-mail addresses, passwords, roles and verification tiers."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from services.runtime.errors import InvalidArgument

USERNAME = re.compile(r"(?=.{3,30}\Z)[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
PASSWORD_MIN, PASSWORD_MAX = 8, 256
"""Characters of a password."""
DISPLAY_NAME_MAX = 60
BIO_MAX = 300
EMAIL_MAX = 254
"""Characters of an address (RFC 5321, 4.5.3.1.3: a path of 256 with its brackets)."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+(?=.*[A-Za-z]){_LABEL}", re.ASCII)
_SOME_EMAIL = re.compile(r"\S@\S+\.\S")
# Line ends and signs that turn the direction of what follows would let a name rewrite the text around it.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Role(IntEnum):
    """As `astra.user.v1.Role`."""

    USER = 1
    VIP = 2
    MODERATOR = 3
    ADMIN = 4


class VerificationTier(IntEnum):
    """As `astra.user.v1.VerificationTier`; compared as numbers, since each tier includes the ones before."""

    UNVERIFIED = 1
    EMAIL = 2
    PHONE = 3
    IDENTITY = 4
    PREMIUM = 5


class UserState(IntEnum):
    """As `astra.user.v1.UserState`."""

    ACTIVE = 1
    SUSPENDED = 2


class AccountChange(IntEnum):
    """As `astra.user.v1.AccountChange`."""

    SUSPENDED = 1
    REACTIVATED = 2
    PASSWORD_CHANGED = 3


class NotificationKind(IntEnum):
    """As `astra.user.v1.NotificationKind`."""

    TRADING = 1
    PROGRESS = 2
    SOCIAL = 3
    PAYMENT = 4
    NFT = 5
    ACCOUNT = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a new user is told by; checked. The password is not in it."""

    username: str
    email: str = field(repr=False)
    """Empty for an admin that the local command registers without one."""
    display_name: str


def check_registration(*, username: str, email: str, password: str, display_name: str) -> Registration:
    """Checks what a user registers with. Raises `InvalidArgument` naming the first field that is wrong.

    That there is an address at all is not checked here: the rpc requires one, the local command does not.
    """
    check_username(username)
    if email:
        check_email(email)
    check_password(password)
    shown = check_display_name(display_name) if display_name else username
    # Names go out in events: one that is the password or the address would carry it along.
    if password_text(password).casefold() in {text.casefold() for text in (username, email, shown)}:
        raise InvalidArgument("password must differ from username, e-mail address and display name", field="password")
    return Registration(username=username, email=email, display_name=shown)


def check_username(username: str) -> None:
    """Raises `InvalidArgument` unless it is 3–30 characters `[A-Za-z0-9][A-Za-z0-9_-]*`."""
    if not USERNAME.fullmatch(username):
        raise InvalidArgument(
            "username must be 3–30 characters A–Z a–z 0–9 _ - and begin with a letter or digit", field="username"
        )


def check_email(email: str) -> None:
    """Raises `InvalidArgument` unless it looks like an address; whether it is one, only a letter to it shows."""
    if len(email) > EMAIL_MAX or not _EMAIL.fullmatch(email):
        raise InvalidArgument(
            "email must be an address such as ann@example.org, its domain in ASCII (xn--… where it is international)",
            field="email",
        )


def check_password(password: str) -> None:
    """Raises `InvalidArgument` unless it has 8–256 characters."""
    if not PASSWORD_MIN <= len(password_text(password)) <= PASSWORD_MAX:
        raise InvalidArgument(f"password must have {PASSWORD_MIN}–{PASSWORD_MAX} characters", field="password")


def check_display_name(name: str) -> str:
    """Returns the name without surrounding spaces. Raises `InvalidArgument` unless others can be shown it."""
    shown = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(shown) <= DISPLAY_NAME_MAX:
        raise InvalidArgument(f"display_name must have 1–{DISPLAY_NAME_MAX} characters", field="display_name")
    if _UNFIT.search(shown) or not any(sign.isprintable() for sign in shown):
        raise InvalidArgument("display_name must be one line of visible characters", field="display_name")
    if _SOME_EMAIL.search(shown):
        raise InvalidArgument("display_name is shown to all; leave the e-mail address out", field="display_name")
    return shown


def check_bio(bio: str) -> str:
    """Returns the text without surrounding spaces. Raises `InvalidArgument` unless others can be shown it."""
    shown = unicodedata.normalize("NFC", bio).strip()
    if len(shown) > BIO_MAX or _UNFIT.search(shown):
        raise InvalidArgument(f"bio must be one line of at most {BIO_MAX} characters", field="user.bio")
    return shown


def check_new_password(password: str, *, current: str, names: Iterable[str]) -> None:
    """Raises `InvalidArgument` unless it may follow the current one; `names` are what others know of the user."""
    new = password_text(password)
    if not PASSWORD_MIN <= len(new) <= PASSWORD_MAX:
        raise InvalidArgument(f"new_password must have {PASSWORD_MIN}–{PASSWORD_MAX} characters", field="new_password")
    if new == password_text(current) or new.casefold() in {name.casefold() for name in names}:
        raise InvalidArgument(
            "new_password must differ from the current one, username, e-mail address and display name",
            field="new_password",
        )


def next_not_before_ms(now_ms: int, last_ms: int) -> int:
    """Returns the moment before which tokens are refused: the next full second, since token times are in seconds.

    It is later than the last one, so that it also tells what was issued between the two.
    """
    return max((now_ms // 1000 + 1) * 1000, last_ms + 1000)


def password_text(password: str) -> str:
    """Returns the one spelling that is hashed (RFC 8265, 4.2): keyboards differ in how they compose an `é`."""
    return unicodedata.normalize("NFC", password)


def name_key(name: str) -> str:
    """Returns what makes a username or an address unique, whatever its case."""
    return name.lower()


def token_roles(roles: Iterable[Role]) -> str:
    """Returns roles as a token states them: `user admin`."""
    return " ".join(role.name.lower() for role in sorted(roles))


def title_of(level: int) -> str:
    """Returns the title of a level; empty before the first level-up."""
    return f"Level {level}" if level else ""
