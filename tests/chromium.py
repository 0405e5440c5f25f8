"""A real headless Chromium, from Debian's package, that connects to nothing but the pages of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

PATH = "/usr/bin/chromium"
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Yields the browser. Fails where it is not installed: `make packages` does that."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=PATH, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()
