"""How answers are shown: tables for people, JSON lines for programs."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

console = Console(highlight=False)


def print_json(message: Message, *, line: bool = False) -> None:
    """Prints a message in its JSON form, with every field; on one line where more follow."""
    fields = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    text = json.dumps(fields, ensure_ascii=False, indent=None if line else 2)
    # Past the console, which would wrap it.
    console.file.write(f"{text}\n")
    console.file.flush()


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """Returns an empty table; `right` names the columns with numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in set(right) else "left", overflow="fold")
    return made


def clock(timestamp: Any, *, day: bool = True) -> str:
    """Returns a time of this machine, to the millisecond; empty for none."""
    if timestamp.ToMilliseconds() == 0:
        return ""
    when = datetime.fromtimestamp(timestamp.ToMilliseconds() / 1000, UTC).astimezone()
    return when.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S") + f".{when.microsecond // 1000:03d}"


def short(stream: str) -> str:
    """Returns a stream's name without what all of them share."""
    return stream.removeprefix("astra.").removesuffix(".v1")


def age(seconds: float) -> str:
    """Returns a span to two figures or so: `0.4 s`, `12 s`, `3 min`, `5 h`, `2 d`."""
    for limit, size, unit in ((10, 1, "s"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if limit == 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
