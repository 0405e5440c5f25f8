"""A gRPC backend that parses every request and serialises it anew, and a gateway before it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
from aiohttp import web
from grpc import aio
from protobuf import DescService, Registry
from yarl import URL

from gateway.process import running
from gateway.settings import Settings
from tests.unit_gateway.schema import registry_of

Answer = Callable[[Any, aio.ServicerContext[Any, Any]], Awaitable[Any]]


async def echo(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
    return request


@dataclass
class Backend:
    """What the backend saw, and what it answers."""

    registry: Registry
    answer: Answer = echo
    seen: list[Any] = field(default_factory=list)
    metadata: dict[str, str | bytes] = field(default_factory=dict)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""

    def handlers(self) -> Any:
        service = self.registry.service("cases.Cases")
        assert isinstance(service, DescService)
        return grpc.method_handlers_generic_handler(
            "cases.Cases", {method.name: self._handler(method.input.type) for method in service.methods}
        )

    def _handler(self, request_type: Any) -> Any:
        async def serve(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            self.seen.append(request)
            self.metadata = {str(name): value for name, value in context.invocation_metadata() or ()}
            try:
                return await self.answer(request, context)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

        return grpc.unary_unary_rpc_method_handler(
            serve, request_deserializer=request_type.from_binary, response_serializer=lambda reply: reply.to_binary()
        )


@dataclass(frozen=True)
class Served:
    """A gateway and its backend."""

    backend: Backend
    client: aiohttp.ClientSession
    port: int

    async def ask(self, method: str, path: str | URL, **options: Any) -> tuple[int, Any, Any]:
        """Returns status, headers and JSON of an answer."""
        async with self.client.request(method, path, **options) as response:
            text = await response.text()
            return response.status, response.headers, await response.json(content_type=None) if text else None

    async def raw(self, request: bytes) -> bytes:
        """Sends bytes as they are, and returns all that comes until the gateway closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()


@asynccontextmanager
async def served(described: bytes, settings: Settings | None = None, *, up: bool = True) -> AsyncIterator[Served]:
    """Runs a backend (or leaves its port closed) and a gateway on free loopback ports."""
    backend = Backend(registry_of(described))
    server = aio.server()
    server.add_generic_rpc_handlers((backend.handlers(),))
    backend.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    if not up:
        await server.stop(None)
    try:
        async with running(settings or Settings(), described, backend.address) as runner:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            async with aiohttp.ClientSession(
                f"http://127.0.0.1:{port}", timeout=aiohttp.ClientTimeout(total=10)
            ) as client:
                yield Served(backend, client, port)
    finally:
        await server.stop(None)
