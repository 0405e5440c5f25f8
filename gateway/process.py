"""Builds a gateway from its settings, a descriptor set and the address of the mesh."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from gateway.access import AccessLog
from gateway.api import Api
from gateway.certificates import Certificates
from gateway.health import Health
from gateway.ids import Ids
from gateway.listener import Listener
from gateway.server import Gateway
from gateway.settings import Settings
from gateway.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that serves."""

    runner: web.ServerRunner
    gateway: Gateway
    settings: Settings

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(address[0], address[1]) for address in self.runner.addresses]

    def reload(self, descriptors: bytes) -> None:
        """Serves another descriptor set from the next request on; requests in hand stay with theirs.

        Raises:
            BadDescriptors: it cannot be served; the one before stays.
        """
        self.gateway.serve(Api.of(self.settings, descriptors))


@asynccontextmanager
async def running(
    settings: Settings,
    descriptors: bytes,
    upstream: str,
    *,
    authorities: Mapping[str, str] | None = None,
    certificates: Certificates | None = None,
) -> AsyncIterator[Running]:
    """Yields a gateway to add sites to. At the end it stops accepting, drains, and closes the channel.

    `authorities` names who a proxy upstream takes a service's health check for; others are asked without. Without
    `certificates` the upstream is called in plain text.

    Raises:
        BadDescriptors: the descriptor set cannot be served.
        FileNotFoundError: a certificate is not there.
    """
    api = Api.of(settings, descriptors)
    async with Upstream(upstream, security=certificates.security() if certificates else None) as channel:
        health = Health(channel.channel, authorities or {}, settings.ready_seconds)
        new_id, access_log = Ids(), AccessLog(sys.stdout)
        gateway = Gateway(settings, api, upstream=channel, health=health, new_id=new_id, ended=[access_log])
        runner = web.ServerRunner(
            Listener(gateway.handle, settings, new_id), shutdown_timeout=settings.drain_seconds, handle_signals=False
        )
        await runner.setup()
        try:
            yield Running(runner, gateway, settings)
        finally:
            gateway.stop()
            await runner.cleanup()
            access_log.flush()
