"""Builds a gateway from its settings, a descriptor set and the address of the mesh."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uuid6
from aiohttp import web
from protobuf import Registry
from protobuf.wkt import FileDescriptorSet

from gateway.binding import Binder
from gateway.listener import Listener
from gateway.outcome import Outcomes
from gateway.rendering import Renderer
from gateway.router import RouteClash
from gateway.routes import BadRule, router_of
from gateway.scanner import TemplateError
from gateway.server import Gateway
from gateway.settings import Settings
from gateway.upstream import Upstream


class BadDescriptors(ValueError):
    """The descriptor set cannot be served: it is none, or one of its http rules is broken or taken."""


def registry_of(descriptors: bytes) -> Registry:
    """Reads a descriptor set.

    Raises:
        BadDescriptors: the bytes are none, or a file they need is missing.
    """
    try:
        return FileDescriptorSet.from_binary(descriptors).to_registry()
    except (ValueError, TypeError, EOFError, KeyError) as error:
        raise BadDescriptors(f"no descriptor set with all its imports: {error}") from None


@asynccontextmanager
async def running(settings: Settings, descriptors: bytes, upstream: str) -> AsyncIterator[web.ServerRunner]:
    """Yields a runner to add sites to. At the end it stops accepting, drains, and closes the channel.

    Raises:
        BadDescriptors: the descriptor set cannot be served.
    """
    registry = registry_of(descriptors)
    try:
        router = router_of(registry, settings.router)
    except (BadRule, TemplateError, RouteClash) as error:
        raise BadDescriptors(str(error)) from None
    async with Upstream(upstream, Outcomes(settings, registry)) as channel:
        gateway = Gateway(
            settings,
            router=router,
            binder=Binder(settings, registry),
            renderer=Renderer(settings, registry),
            upstream=channel,
            new_id=_new_id,
        )
        runner = web.ServerRunner(
            Listener(gateway.handle, settings, _new_id), shutdown_timeout=settings.drain_seconds, handle_signals=False
        )
        await runner.setup()
        try:
            yield runner
        finally:
            await runner.cleanup()


def _new_id() -> str:
    return str(uuid6.uuid7())
