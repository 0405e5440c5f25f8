"""`actions`: what admins did with the bus."""

from typing import Annotated

import typer
from astra.bridge.v1 import bus_service_pb2 as pb

from bridge.commands.client import BUS, AdminClient
from bridge.commands.options import As, Json
from bridge.commands.printing import clock, console, print_json, table


def actions(
    count: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=1000)] = 20,
    username: As = "",
    as_json: Json = False,
) -> None:
    """Shows what admins did with the bus or looked at in it, and what came of it."""
    with AdminClient(username) as client:
        answer = client.call(f"{BUS}/ListBusActions", pb.ListBusActionsRequest(page_size=count))
    rows = table("Begun", "Admin", "Did", "Outcome", "Request")
    for action in answer.actions:
        if as_json:
            print_json(action, line=True)
        else:
            outcome = action.outcome or "goes on"
            rows.add_row(clock(action.begin_time), action.user_id, action.rpc, outcome, action.request)
    if not as_json:
        console.print(rows if answer.actions else "Nothing yet.")
