"""`tail`: events as they go over the bus."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from astra.bridge.v1 import bus_service_pb2 as pb
from google.protobuf import json_format
from rich.text import Text

from bridge.commands.client import BUS, AdminClient
from bridge.commands.options import TIMES, As, Json, parse_time
from bridge.commands.printing import clock, console, print_json, short
from services import contracts


def tail(
    streams: Annotated[
        list[str] | None,
        typer.Option("--stream", help="Only this stream, also as `trading.trade_executed` or `trading`. Repeatable."),
    ] = None,
    correlation_id: Annotated[str, typer.Option("--correlation-id", help="Only the events of this chain.")] = "",
    user: Annotated[str, typer.Option(help="Only events that concern this user_id.")] = "",
    since: Annotated[str, typer.Option(help=f"Begin with past events: {TIMES}.")] = "",
    count: Annotated[int, typer.Option(help="End after so many events; 0 for never.", min=0)] = 0,
    username: As = "",
    as_json: Json = False,
) -> None:
    """Shows decoded events as they come, until Ctrl-C."""
    request = pb.WatchEventsRequest(
        streams=full_names(streams or ()),
        correlation_id=correlation_id,
        user_id=user,
        start_time=parse_time(since) if since else None,
    )
    with AdminClient(username) as client:
        events = client.follow(f"{BUS}/WatchEvents", request)
        try:
            for number, response in enumerate(events, 1):
                if as_json:
                    print_json(response.event, line=True)
                else:
                    console.print(event_line(response.event), soft_wrap=True)
                if number == count:
                    break
        except KeyboardInterrupt:
            pass
        finally:
            events.close()


def full_names(given: Sequence[str]) -> list[str]:
    """Returns the streams that are meant. Raises `BadParameter` for a name that means none."""
    found: list[str] = []
    for name in given:
        matching = [stream for stream in sorted(contracts.events()) if name in _names(stream)]
        if not matching:
            raise typer.BadParameter(f"{name!r} is no stream; `python -m bridge status` shows them all")
        found += [stream for stream in matching if stream not in found]
    return found


def event_line(event: Any) -> Text:
    """Returns an event on one line: when, where, which chain, whom it concerns, and what is in it."""
    line = Text()
    if event.problem:
        return line.append(f"{short(event.stream)} {event.id}  ").append(event.problem, style="red")
    line.append(f"{clock(event.time, day=False)}  ", style="dim")
    line.append(short(event.stream), style="bold").append(f" #{event.id.partition('-')[2]}  ")
    line.append(event.correlation_id, style="cyan").append("  ")
    line.append(f"user {event.user_id}  " if event.user_id else "", style="green")
    data = json_format.MessageToDict(event.data)
    return line.append(
        " ".join(f"{key}={_value(value)}" for key, value in sorted(data.items()) if value != event.user_id)
    )


def _names(stream: str) -> tuple[str, str, str]:
    return stream, short(stream), stream.split(".")[1]


def _value(value: Any) -> str:
    if isinstance(value, dict):  # Money, above all
        return "/".join(_value(part) for _, part in sorted(value.items()))
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
