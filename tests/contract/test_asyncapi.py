"""The AsyncAPI document: all of the catalogue and of the groups is in it, the validator takes it, a page shows it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from bridge.groups import Group, routes
from services import contracts
from services.asyncapi import document_of_the_mesh, groups_of_the_mesh
from services.mesh import ROOT
from tests.chromium import chromium

NODE = ROOT / "tests" / "node"
SCREENS = ROOT / "build" / "screens"
SECONDS = 120.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def document() -> dict[str, Any]:
    return dict(json.loads(await document_of_the_mesh()))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def groups() -> dict[str, tuple[Group, ...]]:
    return await groups_of_the_mesh()


def test_every_stream_is_a_channel_with_its_event(document: dict[str, Any]) -> None:
    assert set(document["channels"]) == set(contracts.events())
    for stream, kind in contracts.events().items():
        channel = document["channels"][stream]
        assert channel["address"] == stream
        assert list(channel["messages"]) == [kind.full_name]
        payload = document["components"]["schemas"][kind.full_name]["properties"]
        assert len(payload) == len(kind.message.DESCRIPTOR.fields), kind.full_name


def test_who_sends_and_who_receives_is_said(document: dict[str, Any], groups: dict[str, tuple[Group, ...]]) -> None:
    read = {
        f"{group.name}.reads.{stream}"
        for domain, own in groups.items()
        for group in own
        for stream in routes(group, domain)
    }
    sent = {f"{kind.domain}.publishes.{stream}" for stream, kind in contracts.events().items()}
    assert sum(len(own) for own in groups.values()) == 17
    assert set(document["operations"]) == read | sent
    assert {one["action"] for name, one in document["operations"].items() if name in read} == {"receive"}


@pytest.fixture(scope="module")
def node() -> Path:
    """The validator and the viewer, from the npm registry by their lock file."""
    subprocess.run(
        ["make", "tests/node/node_modules/.done"], cwd=ROOT, check=True, timeout=SECONDS, capture_output=True
    )
    return NODE


def validated(node: Path, document: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["node", str(node / "validate_asyncapi.mjs")],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@pytest.mark.long
def test_the_public_validator_takes_it_and_no_broken_one(document: dict[str, Any], node: Path) -> None:
    told = validated(node, document)
    assert told.returncode == 0, told.stderr
    counts = json.loads(told.stdout)
    assert (counts["version"], counts["channels"]) == ("3.0.0", len(contracts.events()))
    assert counts["operations"] == len(document["operations"])
    broken = json.loads(json.dumps(document))
    next(iter(broken["operations"].values()))["channel"]["$ref"] = "#/channels/none"
    assert validated(node, broken).returncode == 1


@pytest.fixture(scope="module")
def page_url(document: dict[str, Any], node: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("asyncapi")
    render = ["node", str(node / "render_asyncapi.mjs"), str(folder)]
    subprocess.run(render, input=json.dumps(document), text=True, check=True, timeout=SECONDS)
    return (folder / "trading.html").as_uri()


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")
async def test_a_browser_shows_the_page(page_url: str) -> None:
    async with chromium() as browser:
        page = await browser.new_page(viewport={"width": 1400, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(page_url, wait_until="commit")
        shown = page.locator("#operations").get_by_text("astra.trading.trade_executed.v1", exact=True).first
        await expect(shown).to_be_visible(timeout=60_000)
        SCREENS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=SCREENS / "asyncapi.png")
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
