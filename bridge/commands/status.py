"""`status`: the streams, and how far behind each group is."""

from collections import defaultdict
from typing import Annotated, Any

import typer
from astra.bridge.v1 import bus_service_pb2 as pb
from astra.bridge.v1.bus_pb2 import GroupStatus

from bridge.commands.client import BUS, AdminClient
from bridge.commands.failure import fail
from bridge.commands.options import As, Json
from bridge.commands.printing import age, clock, console, print_json, short, table

FIGURES = ("Consumers", "Lag", "Oldest", "Pending", "Dead")


def status(
    group: Annotated[str, typer.Option(help="Show this group, stream by stream.")] = "",
    username: As = "",
    as_json: Json = False,
) -> None:
    """Shows streams and groups: lag in events and in time, what is pending, dead letters."""
    with AdminClient(username) as client:
        answer = client.call(f"{BUS}/GetBusStatus", pb.GetBusStatusRequest())
    if as_json:
        print_json(answer)
        return
    by_group: dict[str, dict[str, Any]] = defaultdict(dict)
    for stream in answer.streams:
        for member in stream.groups:
            by_group[member.group][stream.stream] = member
    if group:
        _print_group(group, by_group)
    else:
        _print_streams(answer.streams)
        console.print()
        _print_groups(by_group)


def _print_streams(streams: Any) -> None:
    rows = table("Stream", "Events", "In Redis", "Last", "", right=("Events", "In Redis"))
    empty = []
    for stream in streams:
        if not stream.last_ordinal and not stream.stopped:
            empty.append(short(stream.stream))
            continue
        counts = (str(stream.last_ordinal), str(stream.length))
        rows.add_row(short(stream.stream), *counts, clock(stream.last_time), f"[red]{stream.stopped}[/]")
    console.print(rows)
    if empty:
        console.print(f"No events yet: {', '.join(empty)}", style="dim")


def _print_groups(by_group: dict[str, dict[str, Any]]) -> None:
    rows = table("Group", "Streams", *FIGURES, right=("Streams", *FIGURES))
    for name, members in sorted(by_group.items()):
        total = GroupStatus(
            consumers=max(member.consumers for member in members.values()),
            lag=sum(member.lag for member in members.values()),
            pending=sum(member.pending for member in members.values()),
            dead_letters=sum(member.dead_letters for member in members.values()),
            oldest_age=max(
                (member.oldest_age for member in members.values() if member.HasField("oldest_age")),
                key=lambda span: span.ToMilliseconds(),
                default=None,
            ),
        )
        rows.add_row(name, str(len(members)), *_figures(total))
    console.print(rows)


def _print_group(group: str, by_group: dict[str, dict[str, Any]]) -> None:
    if group not in by_group:
        fail(f"no group {group!r}; there are {', '.join(sorted(by_group)) or 'none yet: are the services running?'}")
    rows = table("Stream", *FIGURES, right=FIGURES)
    for stream, member in sorted(by_group[group].items()):
        rows.add_row(short(stream), *_figures(member))
    console.print(rows)


def _figures(member: Any) -> tuple[str, ...]:
    oldest = age(member.oldest_age.ToMilliseconds() / 1000) if member.HasField("oldest_age") else ""
    dead = f"[red]{member.dead_letters}[/]" if member.dead_letters else "0"
    return (str(member.consumers), str(member.lag), oldest, str(member.pending), dead)
