"""What usernames, e-mail addresses, passwords and names may be; roles and tiers."""

import pytest

from services.runtime.errors import InvalidArgument
from services.user.model import Registration, Role, VerificationTier, check_registration, title_of, token_roles

GOOD = {"username": "ann", "email": "ann@example.org", "password": "correct-horse", "display_name": ""}


def check(**fields: str) -> Registration:
    return check_registration(**{**GOOD, **fields})


@pytest.mark.parametrize("username", ["abc", "a" * 30, "0ann", "Ann", "a_-", "A-b_9", "123"])
def test_username_is_taken(username: str) -> None:
    assert check(username=username).username == username


@pytest.mark.parametrize(
    "username",
    [
        "",
        "ab",
        "a" * 31,
        "_ann",
        "-ann",
        "an n",
        "ann\n",  # `$` would let it pass
        "ann.b",
        "ann@b",
        "änn",
        "ａｎｎ",  # full-width letters
        "ann١",  # a digit, but not an ASCII one
        "аnn",  # begins with a Cyrillic letter
    ],
)
def test_username_is_refused(username: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check(username=username)
    assert refused.value.field == "username"


@pytest.mark.parametrize(
    "email",
    [
        "a@b.co",
        "Ann.Lee+astra@Example.ORG",
        "o'hara_1@mail.example.co.uk",
        "x@xn--bcher-kva.example",
        f"{'a' * 64}@example.org",
        "a@1.example",
    ],
)
def test_email_is_taken(email: str) -> None:
    assert check(email=email).email == email


@pytest.mark.parametrize(
    "email",
    [
        "ann",
        "ann@",
        "@example.org",
        "ann@localhost",
        "ann@@example.org",
        "a@b@example.org",
        "an n@example.org",
        "ann@example.org\n",
        "ann@example.org ",
        "ann@exa mple.org",
        ".ann@example.org",
        "ann.@example.org",
        "a..nn@example.org",
        "ann@-example.org",
        "ann@example-.org",
        "ann@example..org",
        "ann@example.org.",
        "ann@127.0.0.1",
        "ann@bücher.example",  # in ASCII it has one lower case, not several
        "ann@example.org\r\nBcc: all@example.org",
        f"{'a' * 65}@example.org",
        f"ann@{'a' * 64}.org",
        f"ann@{'.'.join(['a' * 60] * 5)}.org",
    ],
)
def test_email_is_refused(email: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check(email=email)
    assert refused.value.field == "email"


@pytest.mark.parametrize(
    ("password", "taken"),
    [
        ("1234567", False),
        ("12345678", True),
        ("x" * 256, True),
        ("x" * 257, False),
        ("pässwörd", True),
        ("e\u0301" * 7, False),  # seven letters, however they are composed
        ("e\u0301" * 8, True),
        ("😀" * 8, True),
        (" " * 8, True),
    ],
)
def test_password_has_8_to_256_characters(password: str, taken: bool) -> None:
    if taken:
        check(password=password)
        return
    with pytest.raises(InvalidArgument) as refused:
        check(password=password)
    assert refused.value.field == "password"


@pytest.mark.parametrize(
    "same", [{"username": "annabella"}, {"email": "annabella@a.io"}, {"display_name": "Anna Bella"}]
)
def test_password_that_would_go_out_as_a_name_is_refused(same: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="password must differ"):
        check(**same, password=next(iter(same.values())).upper())


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("", "ann"),
        ("A", "A"),
        ("  Ann Lee ", "Ann Lee"),
        ("x" * 60, "x" * 60),
        ("安娜", "安娜"),
        ("👩‍🚀 Ann", "👩‍🚀 Ann"),
        ("Ann @ home", "Ann @ home"),
    ],
)
def test_display_name_is_shown(given: str, shown: str) -> None:
    assert check(display_name=given).display_name == shown


@pytest.mark.parametrize(
    "name", ["   ", "x" * 61, "Ann\nLee", "Ann\x00", "\u202eAnn", "\u200b\u200b", "ann@example.org", "me: a@b.co!"]
)
def test_display_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check(display_name=name)
    assert refused.value.field == "display_name"


def test_email_is_in_no_representation() -> None:
    assert "example.org" not in repr(check())


def test_tiers_are_an_order_and_not_strings() -> None:
    tiers = [
        VerificationTier.UNVERIFIED,
        VerificationTier.EMAIL,
        VerificationTier.PHONE,
        VerificationTier.IDENTITY,
        VerificationTier.PREMIUM,
    ]
    assert sorted(VerificationTier) == tiers
    assert VerificationTier.EMAIL < VerificationTier.IDENTITY
    assert sorted(tier.name for tier in tiers) != [tier.name for tier in tiers]


def test_token_states_roles_by_name() -> None:
    assert token_roles({Role.ADMIN, Role.USER}) == "user admin"
    assert token_roles([Role.USER]) == "user"


def test_title_names_the_level_once_there_is_one() -> None:
    assert [title_of(level) for level in (0, 2, 16)] == ["", "Level 2", "Level 16"]
