"""`replay`: hands past events to a group again."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from astra.bridge.v1 import bus_service_pb2 as pb
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bridge.commands.client import BUS, AdminClient
from bridge.commands.failure import fail
from bridge.commands.options import TIMES, As, Json, parse_position
from bridge.commands.printing import console, print_json, short
from bridge.commands.tail import full_names

SHOWN_FAILURES = 10


def replay(
    group: Annotated[str, typer.Argument(help="The group to hand the events to.")],
    start: Annotated[str, typer.Option("--from", metavar="TIME|ORDINAL", help=f"First event: {TIMES}; or an ordinal.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME|ORDINAL", help="Last event; the last there is now.")] = "",
    streams: Annotated[
        list[str] | None, typer.Option("--stream", help="Only this stream. Repeatable; one alone for ordinals.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Effects again of what the group has applied.")] = False,
    rate: Annotated[int, typer.Option(help="Most events a second.", min=1, max=100_000)] = 1000,
    request_id: Annotated[str, typer.Option(help="Goes on with a forced replay of this name, repeating nothing.")] = "",
    username: As = "",
    as_json: Json = False,
) -> None:
    """Hands past events to a group once more, from the streams and, where those are trimmed, from the outboxes.

    What the group has applied has no second effect, unless --force. No order is promised.
    """
    request = pb.ReplayEventsRequest(
        request_id=request_id or uuid.uuid4().hex,
        group=group,
        streams=full_names(streams or ()),
        start=parse_position(start),
        end=parse_position(end) if end else None,
        force=force,
        rate_limit=rate,
    )
    last, failures = pb.ReplayEventsResponse(), []
    with AdminClient(username) as client, _bar(group, shown=not as_json) as show:
        responses = client.follow(f"{BUS}/ReplayEvents", request)
        try:
            for last in responses:
                failures += last.failures
                if as_json:
                    print_json(last, line=True)
                show(last)
        except KeyboardInterrupt:
            fail(
                f"stopped after {last.done} of {last.total} events; the same command with --request-id"
                f" {request.request_id} goes on without a repeated effect"
            )
        finally:
            responses.close()
    if not as_json:
        _print_end(last, failures)
    if failures:
        fail(f"{len(failures)} events failed: mend what the errors say, then replay them again")


@contextmanager
def _bar(group: str, *, shown: bool) -> Iterator[Any]:
    """Shows a progress bar on standard error; where that is no terminal, only its end."""
    columns = (
        TextColumn("Replaying to {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task(group, total=None, counts="")
        yield lambda now: progress.update(task, total=now.total, completed=now.done, counts=_counts(now))


def _counts(now: Any) -> str:
    parts = {
        "applied": now.applied,
        "applied before": now.already_applied,
        "failed": now.failed,
        "gone": now.gone,
    }
    return ", ".join(f"{count} {what}" for what, count in parts.items() if count)


def _print_end(last: Any, failures: list[Any]) -> None:
    console.print(f"{last.done} of {last.total} events: {_counts(last) or 'nothing to do'}")
    for failure in failures[:SHOWN_FAILURES]:
        console.print(f"  {short(failure.stream)} {failure.id}: {failure.error}", style="red", markup=False)
    if len(failures) > SHOWN_FAILURES:
        console.print(f"  and {len(failures) - SHOWN_FAILURES} more; --json shows all")
