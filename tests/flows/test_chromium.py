"""A real Chromium: the documentation page makes a call, and a page of a signed-in user hears of what happens."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from services.local import LocalMesh
from tests.flows.test_grpcurl import registered
from tests.story.play import Stage
from tests.story.rest import PASSWORD, Refused

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
DEADLINE_MS = 20_000
XP = 1000
"""One level."""


@pytest_asyncio.fixture(loop_scope="session")
async def page(running: LocalMesh) -> AsyncIterator[Page]:
    """Yields an empty page of the gateway's origin; what the page logs as an error fails the test."""
    faults: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        page = await browser.new_page(base_url=f"http://{running.mesh.addresses['gateway']}")
        page.set_default_timeout(DEADLINE_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
        yield page
        await browser.close()
    assert not faults


async def test_documentation_shows_and_makes_a_call(page: Page, stage: Stage) -> None:
    user = await stage.rest.login(await registered(stage))
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    await page.goto("/docs")
    await expect(page.locator(".info .title")).to_contain_text("AstraTrade mesh")
    # A caller's token goes in where the page asks for it.
    await page.locator(".auth-wrapper .authorize").first.click()
    token = page.locator(".dialog-ux .auth-container", has_text="http, Bearer")
    await token.locator("input").fill(user.token)
    await token.locator("button[type=submit]").click()
    await page.locator(".dialog-ux .btn-done").last.click()
    operation = page.locator("#operations-TradingService-TradingService_GetPortfolio")
    await operation.locator(".opblock-summary-control").click()
    await operation.locator("tr[data-param-name='userId'] input").fill(user.user_id)
    await operation.locator("button.execute").click()
    answer = operation.locator(".live-responses-table .response")
    await expect(answer.locator(".response-col_status")).to_contain_text("200", timeout=DEADLINE_MS)
    await expect(answer.locator(".highlight-code").first).to_contain_text("10000.00")
    assert loaded
    assert all(url.startswith((page.url.partition("/docs")[0], "data:", "blob:")) for url in loaded)


async def test_page_of_a_signed_in_user_hears_of_its_notifications(page: Page, stage: Stage) -> None:
    username = await registered(stage)
    await page.goto("/healthz")
    signed_in = await page.evaluate(
        """async ([username, password]) => {
          const answer = await fetch("/session", {
            method: "POST",
            headers: {"content-type": "application/json"},
            body: JSON.stringify({username, password}),
          });
          return {status: answer.status, body: await answer.json(), readable: document.cookie};
        }""",
        [username, PASSWORD],
    )
    assert signed_in["status"] == 200
    user_id, csrf = signed_in["body"]["userId"], signed_in["body"]["csrfToken"]
    assert signed_in["readable"] == f"astra_csrf={csrf}", "a script sees no other cookie"
    opened = await page.evaluate(
        """(userId) => new Promise((done) => {
          window.heard = [];
          window.source = new EventSource(`/v1/users/${userId}/notifications:watch`);
          window.source.onmessage = (event) => window.heard.push({id: event.lastEventId, ...JSON.parse(event.data)});
          window.source.onopen = () => done(true);
          window.source.onerror = () => done(false);
        })""",
        user_id,
    )
    assert opened
    await stage.rest.award_xp(stage.admin, user_id, XP, correlation_id=f"chromium-{user_id}")
    await page.wait_for_function("window.heard.length > 0", timeout=DEADLINE_MS)
    heard = await page.evaluate("window.heard[0]")
    assert heard["notification"]["userId"] == user_id
    assert heard["id"] == heard["resumeToken"]
    write = """async ([path, given]) => {
      const headers = {"content-type": "application/json", ...given};
      return (await fetch(path, {method: "POST", body: "{}", headers})).status;
    }"""
    check_in = f"/v1/users/{user_id}/progression:checkIn"
    assert await page.evaluate(write, [check_in, {}]) == 403
    assert await page.evaluate(write, [check_in, {"X-CSRF-Token": csrf}]) == 200


async def test_session_is_refreshed_and_ends_in_the_mesh_itself(page: Page, stage: Stage) -> None:
    username = await registered(stage)
    await page.goto("/healthz")
    call = """async ([method, path, body]) => {
      const csrf = document.cookie.replace("astra_csrf=", "");
      const headers = {"content-type": "application/json", ...(csrf && {"X-CSRF-Token": csrf})};
      const answer = await fetch(path, {method, headers, ...(body && {body: JSON.stringify(body)})});
      const text = await answer.text();
      return {status: answer.status, body: text && JSON.parse(text)};
    }"""
    signed_in = await page.evaluate(call, ["POST", "/session", {"username": username, "password": PASSWORD}])
    me = f"/v1/users/{signed_in['body']['userId']}"
    refreshed = await page.evaluate(call, ["POST", "/session/refresh", None])
    assert refreshed["status"] == 200, refreshed
    assert refreshed["body"]["csrfToken"] != signed_in["body"]["csrfToken"]
    assert (await page.evaluate(call, ["GET", me, None]))["status"] == 200
    kept = next(
        each["value"]
        for each in await page.context.cookies(page.url.replace("healthz", "session/x"))
        if each["name"] == "astra_refresh"
    )
    assert (await page.evaluate(call, ["DELETE", "/session", None]))["status"] == 204
    assert not await page.context.cookies()
    assert (await page.evaluate(call, ["GET", me, None]))["status"] == 401
    # The session itself has ended, for whoever kept its token too.
    with pytest.raises(Refused, match="SESSION_ENDED"):
        await stage.rest.post("/v1/sessions:refresh", {"refreshToken": kept}, with_request_id=False)
