"""`trace`: what an event set off, as a tree with times."""

from typing import Annotated, Any

import typer
from astra.analytics.v1 import analytics_service_pb2 as pb
from rich.text import Text
from rich.tree import Tree

from bridge.commands.client import AdminClient
from bridge.commands.options import As, Json
from bridge.commands.printing import clock, console, print_json, short

TRACE = "/astra.analytics.v1.AnalyticsService/TraceCorrelation"


def trace(
    correlation_id: Annotated[str, typer.Argument(help="The correlation id of the chain.")],
    username: As = "",
    as_json: Json = False,
) -> None:
    """Shows the events of a chain under what caused them, with the time since the first."""
    with AdminClient(username) as client:
        answer = client.call(TRACE, pb.TraceCorrelationRequest(correlation_id=correlation_id))
    if as_json:
        print_json(answer)
        return
    first = min(answer.events, key=lambda event: event.since_start.ToMilliseconds())
    last = max(event.since_start.ToMilliseconds() for event in answer.events)
    title = f"{correlation_id}  {clock(first.time)}  {len(answer.events)} events in {last} ms"
    console.print(causal_tree(title, answer.events))


def causal_tree(title: str, events: Any) -> Tree:
    """Returns the tree of a chain; the events come depth first, and each says how many causes stand above it."""
    root = Tree(Text(title, style="bold"), guide_style="dim")
    above = [root]
    for event in events:
        del above[event.depth + 1 :]
        line = Text(f"+{event.since_start.ToMilliseconds()} ms  ", style="dim")
        line.append(short(event.stream), style="bold not dim").append(f" #{event.stream_id.partition('-')[2]}")
        line.append(f"  user {event.user_id}" if event.user_id else "", style="green not dim")
        above.append(above[-1].add(line))
    return root
