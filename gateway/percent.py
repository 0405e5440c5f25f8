"""Percent-decoding that refuses what `urllib` lets pass: broken escapes and bytes that are no UTF-8."""

import re
from urllib.parse import unquote_to_bytes

_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SLASH = re.compile(r"(%2[Ff])")
_RESERVED = re.compile(r"(%(?:2[1346789A-Ca-cFf]|3[ABDFabdf]|40|5[BDbd]))")

KEPT = {"all": None, "all-but-slash": _SLASH, "all-but-reserved": _RESERVED}
"""Which escapes stay as written in a value of several segments, by the name of the option."""


class BadEscape(ValueError):
    """The text holds a broken escape or is no UTF-8; the client has to encode it again."""


def decode(text: str) -> str:
    """Decodes every escape of a text.

    Raises:
        BadEscape: an escape is broken, or the bytes are no UTF-8.
    """
    if text.isascii() and "%" not in text:
        return text
    if broken := _BROKEN.search(text):
        raise BadEscape(f"{text[broken.start() : broken.start() + 3]!r} is no percent-escape")
    try:
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadEscape(f"the bytes of {text[:60]!r} are no UTF-8: {error.reason}") from None


def decode_but(text: str, kept: re.Pattern[str] | None) -> str:
    """Decodes a text but leaves the escapes that `kept` finds as they are written."""
    if kept is None or "%" not in text:
        return decode(text)
    return "".join(piece if index % 2 else decode(piece) for index, piece in enumerate(kept.split(text)))


def decode_plus(text: str) -> str:
    """Decodes a name or value of a query, where `+` is a space."""
    return decode(text.replace("+", " "))
