"""Pages: sizes and tokens."""

import base64

import pytest

from services.runtime.errors import InvalidArgument
from services.runtime.paging import page_key, page_size, page_token


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (1000, 1000), (5000, 1000)])
def test_a_page_has_50_rows_unless_asked_and_1000_at_most(asked: int, given: int) -> None:
    assert page_size(asked) == given


def test_a_token_gives_its_key_back() -> None:
    assert page_key(page_token("id-1", 7), str, int) == ["id-1", 7]
    assert page_key("", str) is None


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "%%%",
        page_token("a"),
        page_token(1, 2),
        page_token("a", 2**63),
        base64.urlsafe_b64encode(b'{"a": 1}').decode(),
        base64.urlsafe_b64encode(b'["a", true]').decode(),
    ],
)
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument):
        page_key(token, str, int)
