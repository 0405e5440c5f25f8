"""The HTTP listener that shows the public keys to Envoy, and to it alone: `GET /jwks.json`; nothing else is served."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from services.mesh import Mesh
from services.runtime.certificates import server_context
from services.user.signing_keys import SigningKeys

NAME = "user-jwks"
STOP_SECONDS = 1.0
CACHE_SECONDS = 5


def jwks_listener(mesh: Mesh, keys: SigningKeys) -> Callable[[asyncio.Event], Coroutine[Any, Any, None]]:
    """Makes a listener that serves until its event is set. It raises `OSError` when the address is taken."""
    host, port = mesh.host(NAME), mesh.port(NAME)

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
            await web.TCPSite(runner, host, port, ssl_context=server_context(mesh, NAME)).start()
            await stop.wait()
        finally:
            await runner.cleanup()

    return listen
