"""Resume tokens of the bus: a small value as opaque text, compressed because it may name every stream."""

import base64
import binascii
import json
import zlib
from typing import Any

from services.runtime.errors import InvalidArgument

LONGEST_BYTES = 100_000


def to_token(value: Any) -> str:
    """Makes a token of what JSON can hold."""
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(value).encode(), level=1)).decode().rstrip("=")


def from_token(token: str) -> Any:
    """Returns what a token was made of. Raises `InvalidArgument` for a made-up one."""
    try:
        packed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        return json.loads(zlib.decompressobj().decompress(packed, LONGEST_BYTES))
    except (binascii.Error, ValueError, zlib.error):
        raise bad_token() from None


def bad_token() -> InvalidArgument:
    """Returns the refusal of a token that this rpc did not make."""
    return InvalidArgument("resume_token is not one that this rpc returned", field="resume_token")
