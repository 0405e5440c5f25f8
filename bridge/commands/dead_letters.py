"""`dead-letters`: lists, shows, retries and drops what groups gave up on."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import grpc
import typer
from astra.bridge.v1 import bus_service_pb2 as pb
from google.protobuf import json_format
from google.protobuf.message import Message

from bridge.commands.client import BUS, AdminClient
from bridge.commands.failure import fail, told
from bridge.commands.options import As, Json
from bridge.commands.printing import clock, console, print_json, short, table
from bridge.commands.tail import full_names

app = typer.Typer(no_args_is_help=True, help="Looks after events that a group gave up on.")

PAGE = 200

Group = Annotated[str, typer.Option(help="Only those of this group.")]
Stream = Annotated[str, typer.Option(help="Only those of this stream.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="GROUP/STREAM/ID, as `list` prints it.")]
All = Annotated[bool, typer.Option("--all", help="All there are, of --group and --stream if given.")]


@dataclass(frozen=True, slots=True)
class Name:
    """What tells one dead letter from all others."""

    group: str
    stream: str
    id: str

    @classmethod
    def parse(cls, text: str) -> "Name":
        """Reads `GROUP/STREAM/ID`. Raises `BadParameter`."""
        parts = text.split("/")
        if len(parts) != 3 or not all(parts):
            raise typer.BadParameter(f"{text!r} is no dead letter's name; it is GROUP/STREAM/ID, as `list` prints it")
        (stream,) = full_names([parts[1]])[:1]
        return cls(parts[0], stream, parts[2])

    def __str__(self) -> str:
        return f"{self.group}/{short(self.stream)}/{self.id}"


@app.command("list")
def list_(group: Group = "", stream: Stream = "", username: As = "", as_json: Json = False) -> None:
    """Lists dead letters by stream, group and age, one JSON line each with --json."""
    rows = table("Name", "Given up", "Tries", "Error", right=("Tries",))
    rows.columns[0].no_wrap = True  # to be copied as it stands
    count = 0
    with AdminClient(username) as client:
        for letter in letters(client, group, stream):
            count += 1
            if as_json:
                print_json(letter, line=True)
            else:
                name = str(Name(letter.group, letter.stream, letter.id))
                rows.add_row(name, clock(letter.time), str(letter.deliveries), letter.error)
    if not as_json:
        console.print(rows if count else "No dead letters.")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="GROUP/STREAM/ID, as `list` prints it.")],
    username: As = "",
    as_json: Json = False,
) -> None:
    """Shows a dead letter: why it is one, and its event."""
    found = Name.parse(name)
    with AdminClient(username) as client:
        answer = client.call(
            f"{BUS}/GetDeadLetter", pb.GetDeadLetterRequest(group=found.group, stream=found.stream, id=found.id)
        )
    if as_json:
        print_json(answer.dead_letter)
        return
    letter = answer.dead_letter
    rows = table("", "")
    rows.show_header = False
    for what, value in {
        "group": letter.group,
        "stream": letter.stream,
        "entry": letter.entry_id,
        "given up": f"{clock(letter.time)} by {letter.consumer} after {letter.deliveries} deliveries",
        "error": letter.error,
        "event": letter.event.event_id,
        "recorded": clock(letter.event.time),
        "correlation id": letter.event.correlation_id,
        "caused by": letter.event.causation_id,
        "user": letter.event.user_id,
        "problem": letter.event.problem,
        "data": json.dumps(json_format.MessageToDict(letter.event.data), indent=2, sort_keys=True, ensure_ascii=False),
    }.items():
        if value:
            rows.add_row(what, value)
    console.print(rows, markup=False)


@app.command()
def retry(
    names: Names = None,
    every: All = False,
    group: Group = "",
    stream: Stream = "",
    username: As = "",
    as_json: Json = False,
) -> None:
    """Hands dead letters to their group again. One that has its effect is gone; one that fails again stays."""

    def request(name: Name) -> Message:
        return pb.RetryDeadLetterRequest(request_id=_new_id(), group=name.group, stream=name.stream, id=name.id)

    def done(answer: Any) -> str:
        return "was applied before; removed" if answer.already_applied else "applied"

    with AdminClient(username) as client:
        chosen = _chosen(client, names, every, group, stream)
        _each(client, "RetryDeadLetter", chosen, request, done, as_json)


@app.command()
def drop(
    names: Names = None,
    every: All = False,
    group: Group = "",
    stream: Stream = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    username: As = "",
    as_json: Json = False,
) -> None:
    """Gives dead letters up for good: their group never has the effect. The events stay in streams and outboxes."""

    def request(name: Name) -> Message:
        return pb.DropDeadLetterRequest(request_id=_new_id(), group=name.group, stream=name.stream, id=name.id)

    with AdminClient(username) as client:
        chosen = _chosen(client, names, every, group, stream)
        if every and not yes and chosen:
            typer.confirm(f"Drop {len(chosen)} dead letters for good?", abort=True, err=True)
        _each(client, "DropDeadLetter", chosen, request, lambda _: "dropped", as_json)


def letters(client: AdminClient, group: str, stream: str) -> Iterator[Any]:
    """Yields every dead letter, page by page."""
    request = pb.ListDeadLettersRequest(group=group, stream=full_names([stream])[0] if stream else "", page_size=PAGE)
    while True:
        answer = client.call(f"{BUS}/ListDeadLetters", request)
        yield from answer.dead_letters
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def _chosen(client: AdminClient, names: Sequence[str] | None, every: bool, group: str, stream: str) -> list[Name]:
    if bool(names) == every:
        raise typer.BadParameter("name dead letters as `list` prints them, or give --all")
    if names:
        return [Name.parse(name) for name in names]
    return [Name(letter.group, letter.stream, letter.id) for letter in letters(client, group, stream)]


def _each(
    client: AdminClient,
    rpc: str,
    names: Sequence[Name],
    request: Callable[[Name], Message],
    done: Callable[[Any], str],
    as_json: bool,
) -> None:
    """Does it to each, whatever becomes of the others. Ends with code 1 if any was refused."""
    refused = 0
    for name in names:
        try:
            answer = client.try_call(f"{BUS}/{rpc}", request(name))
            outcome = {"name": str(name), "ok": True, "outcome": done(answer)}
        except grpc.RpcError as error:
            refused += 1
            outcome = {"name": str(name), "ok": False, "outcome": told(error)}
        if as_json:
            console.file.write(json.dumps(outcome, ensure_ascii=False) + "\n")
        else:
            mark = "[green]✓[/]" if outcome["ok"] else "[red]✗[/]"
            console.print(mark, f"{name}:", outcome["outcome"], soft_wrap=True)
    if not names and not as_json:
        console.print("No dead letters.")
    if refused:
        fail(f"{refused} of {len(names)} were refused; `dead-letters show NAME` shows one")


def _new_id() -> str:
    return uuid.uuid4().hex
