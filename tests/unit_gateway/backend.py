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
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from protobuf import DescMethod, DescService, Registry
from yarl import URL

from gateway.process import Running, running
from gateway.settings import Settings
from tests.unit_gateway.schema import registry_of

Answer = Callable[[Any, aio.ServicerContext[Any, Any]], Awaitable[Any]]
StreamAnswer = Callable[[AsyncIterator[Any], aio.ServicerContext[Any, Any]], AsyncIterator[Any]]


async def echo(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
    return request


async def echo_all(requests: AsyncIterator[Any], context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield request


@dataclass
class Backend:
    """What the backend saw, and what it answers."""

    registry: Registry
    answer: Answer = echo
    stream: StreamAnswer = echo_all
    """What rpcs that stream, either way, answer."""
    seen: list[Any] = field(default_factory=list)
    metadata: dict[str, str | bytes] = field(default_factory=dict)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""

    def handlers(self) -> Any:
        service = self.registry.service("cases.Cases")
        assert isinstance(service, DescService)
        return grpc.method_handlers_generic_handler(
            "cases.Cases", {method.name: self._handler(method) for method in service.methods}
        )

    def _handler(self, method: DescMethod) -> Any:
        async def stream(requests: AsyncIterator[Any], context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async def noted() -> AsyncIterator[Any]:
                async for request in requests:
                    self.seen.append(request)
                    yield request

            self.metadata = {str(name): value for name, value in context.invocation_metadata() or ()}
            try:
                async for reply in self.stream(noted(), context):
                    yield reply
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

        async def serve(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            self.seen.append(request)
            self.metadata = {str(name): value for name, value in context.invocation_metadata() or ()}
            try:
                return await self.answer(request, context)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

        if method.method_kind == "unary":
            return grpc.unary_unary_rpc_method_handler(serve, method.input.type.from_binary, _serialized)
        return grpc.stream_stream_rpc_method_handler(stream, method.input.type.from_binary, _serialized)


def _serialized(reply: Any) -> bytes:
    """Serialises a reply; bytes are sent as they are, for replies that are none."""
    return reply if isinstance(reply, bytes) else bytes(reply.to_binary())


@dataclass(frozen=True)
class Served:
    """A gateway and its backend."""

    backend: Backend
    client: aiohttp.ClientSession
    port: int
    process: Running

    async def ask(self, method: str, path: str | URL, **options: Any) -> tuple[int, Any, Any]:
        """Returns status, headers and JSON of an answer."""
        async with self.client.request(method, path, **options) as response:
            text = await response.text()
            return response.status, response.headers, await response.json(content_type=None) if text else None

    def type(self, name: str) -> Any:
        """Returns a message class of the tests' protos."""
        message = self.backend.registry.message(name if "." in name else f"cases.{name}")
        assert message is not None
        return message.type

    async def raw(self, request: bytes) -> bytes:
        """Sends bytes as they are, and returns all that comes until the gateway closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()


@asynccontextmanager
async def served(
    described: bytes, settings: Settings | None = None, *, up: bool = True, also: HealthServicer | None = None
) -> AsyncIterator[Served]:
    """Runs a backend (or leaves its port closed) and a gateway on free loopback ports."""
    backend = Backend(registry_of(described))
    server = aio.server()
    server.add_generic_rpc_handlers((backend.handlers(),))
    if also is not None:
        add_HealthServicer_to_server(also, server)
    backend.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    if not up:
        await server.stop(None)
    try:
        async with running(settings or Settings(), described, backend.address) as process:
            await web.TCPSite(process.runner, "127.0.0.1", 0).start()
            port = process.addresses[0][1]
            async with aiohttp.ClientSession(
                f"http://127.0.0.1:{port}", timeout=aiohttp.ClientTimeout(total=10)
            ) as client:
                yield Served(backend, client, port, process)
    finally:
        await server.stop(None)
