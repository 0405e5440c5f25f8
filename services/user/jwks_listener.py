"""The HTTP listener that shows the public keys to Envoy: `GET /jwks.json`. Internal; nothing else is served."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from services.user.signing_keys import SigningKeys

STOP_SECONDS = 1.0
CACHE_SECONDS = 5


def jwks_listener(host: str, port: int, keys: SigningKeys) -> Callable[[asyncio.Event], Coroutine[Any, Any, None]]:
    """Makes a listener that serves until its event is set. It raises `OSError` when the address is taken."""

    async def show(request: web.Request) -> web.Response:
        return web.json_response(
            await keys.public(),
            content_type="application/jwk-set+json",
            headers={"cache-control": f"public, max-age={CACHE_SECONDS}"},
        )

    async def listen(stop: asyncio.Event) -> None:
        app = web.Application()
        app.router.add_get("/jwks.json", show)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS)
        await runner.setup()
        await keys.public()  # makes the first key, before anybody asks
        try:
            await web.TCPSite(runner, host, port).start()
            await stop.wait()
        finally:
            await runner.cleanup()

    return listen
