"""Pages of lists (AIP-158): sizes and opaque tokens."""

import base64
import binascii
import json
from typing import Any

from services.runtime.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


def page_size(asked: int) -> int:
    """Returns how many rows a page gets: 50 for 0, at most 1000. Raises `InvalidArgument` below 0."""
    if asked < 0:
        raise InvalidArgument("page_size must not be negative", field="page_size")
    return min(asked, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def page_token(*key: str | int) -> str:
    """Makes the token of the page after the row with this key."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def page_key(token: str, *types: type) -> list[Any] | None:
    """Returns the key a token was made of; None for the first page. Raises `InvalidArgument` for a made-up token."""
    if not token:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        key = None
    if (
        not isinstance(key, list)
        or [type(part) for part in key] != list(types)
        or any(isinstance(part, int) and abs(part) >= 2**63 for part in key)  # more than SQL integers hold
    ):
        raise InvalidArgument("page_token is not one that this list returned", field="page_token")
    return key
