"""Keeps what admins do: a row before anything is done, and its outcome after it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import structlog
from astra.bridge.v1 import bus_service_pb2 as pb
from astra.bridge.v1.bus_pb2 import BusAction
from google.protobuf import json_format

from services.runtime.call import Call
from services.runtime.clock import Clock, wall_clock
from services.runtime.errors import MeshError, Unavailable
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx

log = structlog.get_logger()


@dataclass(slots=True)
class Outcome:
    """What came of an action; written down when it ends."""

    text: str = ""


def open_store(path: Path, *, clock: Clock = wall_clock) -> Store:
    """Opens the bridge's database: the actions, and the replies of writes by request id."""
    schema = files("bridge.bus").joinpath("schema.sql").read_text()
    return Store(path, domain="bridge", schema=schema, clock=clock)


@asynccontextmanager
async def kept(store: Store, call: Call) -> AsyncIterator[Outcome]:
    """Keeps the block as an action of the caller, whichever way it ends. Nothing is done unless that can be kept."""
    outcome = Outcome()
    request = json_format.MessageToJson(call.request, preserving_proto_field_name=True, indent=None)

    def begin(tx: Tx) -> str:
        action_id = tx.new_id()
        tx.execute(
            "INSERT INTO bus_action (action_id, user_id, rpc, request, correlation_id, begin_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *(action_id, call.caller.subject, call.rpc.name, request, call.context.correlation_id, tx.now_ms),
        )
        return action_id

    action_id = await store.write(begin)
    try:
        yield outcome
    except MeshError as error:
        outcome.text = f"{error.code}: {error.message}"
        raise
    except (asyncio.CancelledError, GeneratorExit):
        outcome.text = f"the caller left: {outcome.text}" if outcome.text else "the caller left"
        raise
    except Exception as error:
        outcome.text = f"INTERNAL: {type(error).__name__}"
        raise
    finally:
        text = outcome.text or "done"
        log.warning("bus.action", user_id=call.caller.subject, rpc=call.rpc.name, request=request, outcome=text)
        try:
            await store.write(lambda tx: _end(tx, action_id, text))
        except Unavailable as error:
            # It is done, and the caller shall hear of that; the row tells that it began, the log how it ended.
            log.error("bus.outcome_not_kept", action_id=action_id, error=error.message)


def _end(tx: Tx, action_id: str, outcome: str) -> None:
    tx.execute("UPDATE bus_action SET end_ms = ?, outcome = ? WHERE action_id = ?", tx.now_ms, outcome, action_id)


async def list_actions(store: Store, request: pb.ListBusActionsRequest) -> pb.ListBusActionsResponse:
    """Returns a page of actions, the newest first."""
    size, key = page_size(request.page_size), page_key(request.page_token, str)
    rows = await store.read(lambda db: _page(db, key[0] if key else "~", size + 1))
    return pb.ListBusActionsResponse(
        actions=rows[:size], next_page_token=page_token(rows[size - 1].action_id) if len(rows) > size else ""
    )


def _page(db: Reader, before: str, count: int) -> list[BusAction]:
    rows = db.all("SELECT * FROM bus_action WHERE action_id < ? ORDER BY action_id DESC LIMIT ?", before, count)
    actions = []
    for row in rows:
        action = BusAction(**{name: row[name] for name in row.keys() if not name.endswith("_ms")})  # noqa: SIM118
        action.begin_time.FromMilliseconds(row["begin_ms"])
        if row["end_ms"] is not None:
            action.end_time.FromMilliseconds(row["end_ms"])
        actions.append(action)
    return actions
