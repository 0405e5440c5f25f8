"""Options that commands share, and how times are written."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from astra.bridge.v1.bus_pb2 import Position
from google.protobuf.timestamp_pb2 import Timestamp

As = Annotated[
    str, typer.Option("--as", metavar="USERNAME", help="The admin to sign in as; else ASTRA_ADMIN_USERNAME.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

_AGO = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
TIMES = "2026-11-22T10:30:00Z, or 90s, 15m, 2h, 3d for so long ago"


def parse_time(text: str, *, now: datetime | None = None) -> Timestamp:
    """Reads a point in time; without a zone it is this machine's. Raises `BadParameter`."""
    found = Timestamp()
    now = now or datetime.now(UTC)
    try:
        if ago := _AGO.fullmatch(text):
            when = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            when = datetime.fromisoformat(text)
        found.FromDatetime(when.astimezone(UTC))
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time; write {TIMES}") from None
    return found


def parse_position(text: str) -> Position:
    """Reads an ordinal or a point in time. Raises `BadParameter`."""
    if text.isascii() and text.isdigit():
        if not 1 <= int(text) < 2**63:
            raise typer.BadParameter("ordinals begin with 1")
        return Position(ordinal=int(text))
    return Position(time=parse_time(text))
