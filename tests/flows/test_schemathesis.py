"""schemathesis makes requests from `/openapi.json`, sound and unsound ones: what comes back is as the document says."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from services.mesh import ROOT
from tests.story.play import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long, pytest.mark.timeout(300)]

SCHEMATHESIS = ROOT / ".clients" / "bin" / "schemathesis"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
STREAMS = "_(Watch|Replay)"
EXAMPLES = 8
"""Of each operation, beside those that cover its schema."""


async def _run(stage: Stage, folder: Path, document: str, *options: str) -> tuple[int, str]:
    """Returns the exit code of a run as an admin, and what it told."""
    (folder / "openapi.json").write_text(document)
    gateway = f"http://{stage.running.mesh.addresses['gateway']}"
    process = await asyncio.create_subprocess_exec(
        *(SCHEMATHESIS, "run", folder / "openapi.json", "--url", gateway),
        *("--header", f"Authorization: Bearer {stage.admin.token}"),
        *("--phases", "examples,coverage,fuzzing", "--seed", "1", "--request-timeout", "10", "--workers", "2"),
        *("--generation-database", "none", "--no-shrink", "--continue-on-failure", "--suppress-health-check", "all"),
        *("--warnings", "off", "--no-color", *options),
        cwd=folder,  # it keeps what it found there
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await asyncio.wait_for(process.communicate(), 280)
    assert process.returncode is not None
    return process.returncode, told.decode()


async def _document(stage: Stage) -> str:
    url = f"http://{stage.running.mesh.addresses['gateway']}/openapi.json"
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return await answer.text()


async def test_every_answer_is_as_documented_and_never_a_server_error(stage: Stage, tmp_path: Path) -> None:
    document = await _document(stage)
    options = ("--checks", ",".join(CHECKS), "--exclude-operation-id-regex", STREAMS, "--max-examples", str(EXAMPLES))
    code, told = await _run(stage, tmp_path, document, *options)
    assert code == 0, told


async def test_streams_that_come_to_their_deadline_answer_as_documented(stage: Stage, tmp_path: Path) -> None:
    document = await _document(stage)
    checks = ",".join(check for check in CHECKS if check != "not_a_server_error")  # a deadline is a 504
    options = ("--checks", checks, "--include-operation-id-regex", STREAMS, "--max-examples", "2")
    code, told = await _run(stage, tmp_path, document, "--header", "X-Server-Timeout: 0.1", *options)
    assert code == 0, told


async def test_answers_that_the_document_does_not_tell_of_are_found(stage: Stage, tmp_path: Path) -> None:
    """The control: a document that lacks statuses of failures, and asks for a field that answers do not have."""
    made = json.loads(await _document(stage))
    responses = made["paths"]["/v1/markets/{symbol}/quote"]["get"]["responses"]
    del responses["400"], responses["404"]
    made["components"]["schemas"]["astra.trading.v1.ListMarketsResponse"]["required"] = ["noSuchField"]
    options = (
        "--checks",
        ",".join(CHECKS),
        "--include-operation-id-regex",
        "_(GetQuote|ListMarkets)$",
        "--max-examples",
        "2",
    )
    code, told = await _run(stage, tmp_path, json.dumps(made), *options)
    assert code == 1
    assert "ndocumented" in told, told
    assert "noSuchField" in told
