"""What a browser does, through the real gateway and Envoy: signs in, writes, and follows the feed over a break."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.story.play import Stage
from tests.story.rest import PASSWORD

pytestmark = pytest.mark.asyncio(loop_scope="session")

DEADLINE_SECONDS = 20.0
XP = 1000
"""One level."""


class Browser:
    """Keeps cookies as a browser does, and reads one of them as a page's script would."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self.client = client
        self.cookies: dict[str, str] = {}

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        csrf = {"X-CSRF-Token": self.cookies["astra_csrf"]} if "astra_csrf" in self.cookies else {}
        sent = {**self._cookie(), **csrf, **headers}
        async with self.client.request(method, path, json=body, headers=sent) as answer:
            self.cookies |= {name: morsel.value for name, morsel in answer.cookies.items()}
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    @asynccontextmanager
    async def events(self, path: str, last_event_id: str = "") -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        """Yields the id and data of events, as an EventSource hands them out."""
        headers = {**self._cookie(), "Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
        async with self.client.get(path, headers=headers, timeout=timeout) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["Content-Type"] == "text/event-stream"
            yield _events(answer)

    def _cookie(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    named = ""
    async for line in answer.content:
        if line.startswith(b"id: "):
            named = line[4:].strip().decode()
        elif line.startswith(b"data: "):
            yield named, json.loads(line[6:])


@pytest_asyncio.fixture(loop_scope="session")
async def browser(stage: Stage) -> AsyncIterator[Browser]:
    address = f"http://{stage.running.mesh.addresses['gateway']}"
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Browser(client)


async def test_feed_goes_on_where_a_browser_left_it(stage: Stage, browser: Browser) -> None:
    user_id = await stage.rest.register("browser-ada")
    status, signed_in = await browser.ask("POST", "/session", {"username": "browser-ada", "password": PASSWORD})
    assert (status, signed_in["userId"]) == (200, user_id)
    path = f"/v1/users/{user_id}/feed:watch"
    async with browser.events(path) as events:
        named, _ = await anext(events)
        assert named
    await stage.rest.award_xp(stage.admin, user_id, XP, correlation_id="browser-level-up")
    async with browser.events(path, named) as events:
        later, data = await anext(events)
        assert data["feedEntry"]["userId"] == user_id
        assert later != named


async def test_write_in_a_session_needs_its_csrf_token(stage: Stage, browser: Browser) -> None:
    user_id = await stage.rest.register("browser-eve")
    await browser.ask("POST", "/session", {"username": "browser-eve", "password": PASSWORD})
    check_in = f"/v1/users/{user_id}/progression:checkIn"
    status, refused = await browser.ask("POST", check_in, {}, **{"X-CSRF-Token": "guess"})
    assert (status, refused["details"][0]["reason"]) == (403, "CSRF")
    status, answer = await browser.ask("GET", f"/v1/users/{user_id}/portfolio")
    assert status == 200, answer
    assert (await browser.ask("DELETE", "/session"))[0] == 204
    assert browser.cookies["astra_session"] == ""
    assert (await browser.ask("GET", f"/v1/users/{user_id}/portfolio"))[0] == 401


async def test_every_service_tells_its_health(stage: Stage, browser: Browser) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            status, body = await browser.ask("GET", "/health")
            if status == 200:
                break
            await asyncio.sleep(0.2)
    assert set(body["services"].values()) == {"SERVING"}
