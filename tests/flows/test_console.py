"""The console in a real Chromium on a real mesh: an operator's day, and who is turned away."""

import asyncio
import os
import re
import signal
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, ViewportSize, expect

from services.local import LocalMesh
from services.mesh import ROOT, Mesh
from tests.chromium import chromium
from tests.flows.operating import poisoned, trade, trader
from tests.story.chains import STORY_3
from tests.story.play import Stage
from tests.story.rest import PASSWORD

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300), pytest.mark.long]

SCREENS = ROOT / "build" / "screens"
WIDE = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=375, height=740)
VIEWS = ("map", "streams", "events", "trace", "dead-letters", "replay", "game", "actions")
DEADLINE_MS = 30_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    """A mesh of this file's own: one of its events is poisonous."""
    with LocalMesh(Mesh.at(tmp_path_factory.mktemp("console"), free_ports=True)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(running: LocalMesh) -> AsyncIterator[Stage]:
    async with Stage(running) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


class Console:
    """One browser window on the console. Whatever its scripts complain about fails the test."""

    def __init__(self, page: Page, stage: Stage) -> None:
        self.page = page
        self.base = f"http://{stage.running.mesh.addresses['gateway']}"
        self.complaints: list[str] = []
        page.set_default_timeout(DEADLINE_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._stays_here)

    def _stays_here(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith((self.base, "data:")):
            self.complaints.append(f"asked {url}")

    async def sign_in(self, username: str, password: str = PASSWORD) -> None:
        await self.page.goto(f"{self.base}/console")
        await self.page.get_by_label("Username").fill(username)
        await self.page.get_by_label("Password").fill(password)
        await self.page.keyboard.press("Enter")

    async def go(self, view: str, argument: str = "") -> None:
        await self.page.goto(f"{self.base}/console#/{view}" + (f"/{argument}" if argument else ""))

    async def shoot(self, name: str) -> None:
        SCREENS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENS / f"{name}.png")


@pytest_asyncio.fixture(loop_scope="module")
async def console(browser: Browser, stage: Stage) -> AsyncIterator[Console]:
    context = await browser.new_context(viewport=WIDE)
    console = Console(await context.new_page(), stage)
    yield console
    await context.close()
    assert console.complaints == []


@pytest_asyncio.fixture(loop_scope="module")
async def operated(console: Console) -> Console:
    """A console that the first admin is signed in to."""
    await console.sign_in("first-admin")
    await expect(console.page.get_by_role("heading", name="Map")).to_be_visible()
    return console


async def test_the_stories_events_arrive_as_they_happen(operated: Console, stage: Stage) -> None:
    page, story = operated.page, f"c{uuid.uuid4().hex[:8]}"
    await operated.go("events")
    await expect(page.get_by_text("live", exact=True)).to_be_visible()
    outcome = await stage.play(story, STORY_3)
    assert outcome.differences == []
    chain = max(outcome.chains, key=lambda chain: len(chain.expected))
    await page.get_by_placeholder("correlation id").fill(chain.correlation_id)
    await page.keyboard.press("Enter")
    await page.get_by_label("User", exact=True).focus()
    events = page.locator(".events > li")
    await expect(events).to_have_count(len(chain.expected), timeout=DEADLINE_MS)
    await operated.shoot("events")
    await events.first.locator("summary").click()
    await page.get_by_role("link", name=chain.correlation_id).first.click()
    await expect(page.locator(".timeline > li")).to_have_count(len(chain.expected), timeout=DEADLINE_MS)
    await expect(page.locator(".timeline > li").first).to_contain_text("trading.trade_executed")
    await operated.shoot("trace")


async def test_an_event_shows_without_asking_again(operated: Console, stage: Stage) -> None:
    await operated.go("events")
    await expect(operated.page.get_by_text("live", exact=True)).to_be_visible()
    user = await trader(stage)
    await trade(stage, user)
    shown = operated.page.locator(".events > li", has_text=user.user_id).filter(has_text="trading.trade_executed")
    await expect(shown).to_have_count(1, timeout=DEADLINE_MS)


async def _look_until_there(page: Page, row: Locator) -> None:
    """Presses the button until the one dead letter is listed."""
    async with asyncio.timeout(DEADLINE_MS / 1000):
        while await row.count() != 1:
            await page.get_by_role("button", name="Look again").click()
            await asyncio.sleep(0.2)


async def test_a_dead_letter_is_shown_retried_and_dropped(operated: Console, stage: Stage) -> None:
    page, user, mesh = operated.page, await trader(stage), stage.running.mesh
    with poisoned(mesh, user):
        await trade(stage, user)
        await operated.go("dead-letters")
        row = page.locator("tbody tr", has_text="revenue_trackers")
        await _look_until_there(page, row)
        await expect(row).to_contain_text("poisoned")
        await operated.shoot("dead-letters")
        await row.get_by_role("button", name="Show").click()
        await expect(page.get_by_role("dialog")).to_contain_text(user.user_id)
        await page.keyboard.press("Escape")
        await row.get_by_role("button", name="Retry").click()
        await expect(page.locator(".notice.bad")).to_contain_text("poisoned")
        await expect(row).to_have_count(1)
        await row.get_by_role("button", name="Drop").click()
        await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        await expect(row).to_have_count(1)
    await row.get_by_role("button", name="Retry").click()
    await expect(page.locator(".notice.good")).to_contain_text("has its effect now")
    await expect(page.get_by_text("No dead letters.")).to_be_visible()
    with poisoned(mesh, user):
        await trade(stage, user)
        await _look_until_there(page, row)
    await row.get_by_role("button", name="Drop").click()
    await page.get_by_role("dialog").get_by_role("button", name="Drop it").click()
    await expect(page.get_by_text("No dead letters.")).to_be_visible()
    await operated.go("actions")
    rpcs = page.locator("tbody tr td:nth-child(3)")
    await expect(rpcs.first).to_have_text("DropDeadLetter")
    await expect(rpcs.nth(1)).to_have_text("RetryDeadLetter")
    await operated.shoot("actions")


async def test_a_replay_is_started_and_ends(operated: Console, stage: Stage) -> None:
    user = await trader(stage)
    await trade(stage, user)
    page = operated.page
    await operated.go("replay")
    await page.locator("select[name=group]").select_option("social_feed_generators")
    await page.locator("select[name=stream]").select_option("astra.trading.trade_executed.v1")
    await page.get_by_label("From").fill("not a place")
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator(".notice.bad")).to_contain_text("neither a number in the stream nor a time")
    await page.get_by_label("From").fill("1")
    await page.get_by_role("button", name="Start").click()
    await expect(page.locator(".notice.good")).to_contain_text("is done", timeout=DEADLINE_MS)
    await expect(page.locator("main p[role=status]")).to_have_text(
        re.compile(r"^(\d+) of \1 events: \d+ applied before$")
    )
    await operated.shoot("replay")
    await page.get_by_label("Force").check()
    await page.get_by_role("button", name="Start").click()
    await expect(page.get_by_role("dialog")).to_contain_text("cannot be undone")
    await page.get_by_role("button", name="Cancel").click()


async def test_the_map_shows_who_is_away_and_back(operated: Console, stage: Stage) -> None:
    page = operated.page
    await expect(page.get_by_role("link", name=re.compile("^nft: .* events.s$"))).to_be_visible()
    await expect(page.get_by_role("link", name=re.compile("^revenue trackers: "))).to_be_visible()
    await _shoot_in_use(operated, stage)
    stopped = stage.running.kill("nft", signal.SIGSTOP)
    await expect(page.get_by_role("link", name="nft: not serving")).to_be_visible(timeout=DEADLINE_MS)
    await expect(page.get_by_text("Not serving: nft.")).to_be_visible()
    os.kill(stopped, signal.SIGCONT)
    await expect(page.get_by_text("Every service serves.")).to_be_visible(timeout=DEADLINE_MS)


async def _shoot_in_use(console: Console, stage: Stage) -> None:
    """Takes the picture of the map while its people trade."""
    users = [await trader(stage) for _ in range(4)]
    moving = console.page.get_by_role("link", name=re.compile("^trading: [1-9]"))
    async with asyncio.timeout(DEADLINE_MS / 1000):
        while not await moving.is_visible():
            await asyncio.gather(*(trade(stage, user) for user in users))
            await asyncio.sleep(0.5)  # each may trade 20 times a day
    await console.shoot("map")


async def test_streams_and_the_game_are_shown(operated: Console) -> None:
    page = operated.page
    await operated.go("streams", "trading.trade_executed")
    await expect(page.locator("tbody tr", has_text="trading.trade_executed").filter(has_text="flows")).to_have_count(1)
    await operated.shoot("streams")
    await operated.go("game")
    await expect(page.locator(".kpi")).to_have_count(7)
    await expect(page.locator("tbody tr td:first-child").first).to_have_text("1")
    await operated.shoot("game")


async def test_everything_is_reached_by_keys_on_a_phone_and_in_the_dark(browser: Browser, stage: Stage) -> None:
    context = await browser.new_context(viewport=PHONE, color_scheme="dark")
    console = Console(await context.new_page(), stage)
    await console.sign_in("first-admin")
    await expect(console.page.get_by_role("heading", name="Map")).to_be_visible()
    for number, view in enumerate(VIEWS, start=1):
        await console.page.keyboard.press(str(number))
        await expect(console.page.locator("nav a[aria-current]")).to_have_attribute("href", f"#/{view}")
        await expect(console.page.locator("main h1")).to_be_visible()
        wide = await console.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE["width"], f"{view} is {wide} px wide"
        await console.page.wait_for_timeout(300)
        await console.shoot(f"phone-{view}")
    await console.page.keyboard.press("2")
    await expect(console.page.get_by_role("heading", name="Streams").first).to_be_visible()
    await console.page.keyboard.press("/")
    await expect(console.page.get_by_label("Stream, group or domain")).to_be_focused()
    await console.page.get_by_role("button", name="Sign out").click()
    await expect(console.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert (await console.page.request.get(f"{console.base}/v1/bus")).status == 401
    await context.close()
    assert console.complaints == []


async def test_a_user_without_the_role_is_turned_away(console: Console, stage: Stage) -> None:
    username = f"u{uuid.uuid4().hex[:12]}"
    await stage.rest.register(username)
    await console.sign_in(username, "a wrong password")
    await expect(console.page.get_by_role("alert")).not_to_be_empty()
    await console.sign_in(username)
    await expect(console.page.get_by_role("heading", name="For admins only")).to_be_visible()
    assert await console.page.locator("nav a").count() == 0
    for path in ("/v1/bus", "/v1/bus/deadLetters", "/v1/bus/actions"):
        assert (await console.page.request.get(f"{console.base}{path}")).status == 403
    await console.shoot("refused")
