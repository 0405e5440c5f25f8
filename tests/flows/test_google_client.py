"""A client made by Google's generator from our protos calls every public rpc by REST, and hears of every failure."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.frames import JsonArray, UnfinishedArray
from gateway.refusal import refusal
from services.contracts import Rpc, rpcs
from services.local import LocalMesh
from services.mesh import ROOT
from tests.flows.test_grpcurl import failures_of, registered
from tests.story.play import Stage

LINE_BYTES = 16 * 1024 * 1024
"""The longest answer: a whole list, on a mesh that other tests have used before."""
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]

PYTHON = ROOT / ".clients" / "bin" / "python"
SCRIPTS = ROOT / "tests" / "google_client"
SILENT_SECONDS = 1
"""How long a stream is silent before the client leaves it."""
XP = 1000
"""One level."""
BY_NAME = {rpc.name: rpc for rpc in rpcs().values()}


class GoogleClient:
    """Asks by the generated client, which runs in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, name: str, data: object, *, token: str = "", chain: str = "", seconds: int = 10) -> Any:
        """Returns the result, the pages, the messages or the error."""
        question = {"rpc": BY_NAME[name].path, "request": data, "token": token, "correlation": chain}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**question, "seconds": seconds}).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        assert line, "the client's process has ended"
        return json.loads(line)

    async def __call__(self, rpc: Rpc, data: Any, *, token: str, chain: str, seconds: int) -> tuple[Any, str]:
        if rpc.name == "UpdateProfile":  # grpcurl writes masks otherwise than ProtoJSON
            data = {**data, "updateMask": "displayName"}
        seconds = SILENT_SECONDS if rpc.server_streaming else seconds
        answer = await self.ask(rpc.name, data, token=token, chain=chain, seconds=seconds)
        if not rpc.server_streaming and "messages" in answer:
            return None, "no answer in time"
        if "error" in answer:
            return None, str(answer["error"])
        shown = answer.get("result", answer.get("pages", [None])[0])
        # What succeeds answers with something, or the client has not found it in the answer.
        empty = not shown and not rpc.server_streaming and rpc.name not in ANSWER_NOTHING
        return shown, "the answer is empty" if empty else ""


ANSWER_NOTHING = {"Logout", "ChangePassword", "ListDeadLetters"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(running: LocalMesh, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GoogleClient]:
    generated = tmp_path_factory.mktemp("generated")
    making = await asyncio.create_subprocess_exec(PYTHON, SCRIPTS / "generate.py", generated)
    assert await asyncio.wait_for(making.wait(), 120) == 0
    # The generated packages first: they import those of our messages that are no part of them.
    path = os.pathsep.join(map(str, (generated, ROOT / "gen" / "python")))
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, SCRIPTS / "caller.py", running.mesh.addresses["gateway"]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        yield GoogleClient(process)
    finally:
        process.kill()
        await process.wait()


async def test_it_calls_every_public_rpc(client: GoogleClient, stage: Stage) -> None:
    failures = await failures_of(client, stage)
    assert not failures, json.dumps(failures, indent=1)


async def test_list_is_read_page_by_page(client: GoogleClient, stage: Stage) -> None:
    user = await stage.rest.login(await registered(stage))
    answer = await client.ask("ListMarkets", {"pageSize": 2}, token=user.token)
    assert len(answer["pages"]) > 2
    symbols = [market["symbol"] for page in answer["pages"] for market in page["markets"]]
    everything = await client.ask("ListMarkets", {}, token=user.token)
    assert symbols == [market["symbol"] for market in everything["pages"][0]["markets"]]
    assert len(set(symbols)) == len(symbols)


async def test_failure_is_an_error_of_its_type_with_its_details(client: GoogleClient, stage: Stage) -> None:
    user = await stage.rest.login(await registered(stage))
    me = {"userId": user.user_id}
    missing = (await client.ask("GetTrade", {**me, "tradeId": "no-such"}, token=user.token))["error"]
    assert (missing["type"], missing["code"], missing["reason"]) == ("NotFound", 404, "TRADE_NOT_FOUND")
    nobody = (await client.ask("GetPortfolio", me))["error"]
    assert (nobody["type"], nobody["code"]) == ("Unauthorized", 401)
    stranger = (await client.ask("GetPortfolio", {"userId": "somebody-else"}, token=user.token))["error"]
    assert (stranger["type"], stranger["code"]) == ("Forbidden", 403)
    # Of the gateway itself: the field at fault is told.
    unsound = (await client.ask("GetLeaderboard", {"board": 1, "pageSize": -1}, token=user.token))["error"]
    assert (unsound["type"], unsound["code"]) == ("BadRequest", 400), unsound


async def test_stream_brings_what_happens(client: GoogleClient, stage: Stage) -> None:
    user = await stage.rest.login(await registered(stage))
    me = {"userId": user.user_id}
    watching = asyncio.create_task(client.ask("WatchNotifications", me, token=user.token, seconds=3))
    for number in range(20):  # nothing tells when the stream has begun, and it shows only what comes after
        await asyncio.sleep(0.1)
        if number % 5 == 4:
            await stage.rest.award_xp(stage.admin, user.user_id, XP, correlation_id=f"google-{user.user_id}-{number}")
    answer = await watching
    assert answer["messages"][0]["notification"]["userId"] == user.user_id
    assert answer["messages"][0]["resumeToken"]
    refused = (await client.ask("WatchNotifications", {**me, "resumeToken": "made-up"}, token=user.token))["error"]
    assert (refused["type"], refused["code"]) == ("BadRequest", 400)


async def test_stream_that_fails_between_messages_raises_and_says_why(client: GoogleClient) -> None:
    frames = UnfinishedArray()
    sent = frames.message(b'{"resumeToken":"a"}', "") + frames.failure(refusal(503, "STOPPING", "it stops").failure)
    answer = await client.ask("WatchNotifications", {"read": sent.decode()})
    assert answer["messages"] == [{"resumeToken": "a"}]
    assert "it stops" in answer["error"]["message"]
    # The control: an error in an array that ends is taken for a message, and for a good end.
    plain = JsonArray()
    sent = plain.message(b'{"resumeToken":"a"}', "") + plain.failure(refusal(503, "STOPPING", "it stops").failure)
    assert (await client.ask("WatchNotifications", {"read": sent.decode()}))["messages"] == [{"resumeToken": "a"}, {}]
