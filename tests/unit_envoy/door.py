"""What a real Envoy needs around it: issuers of tokens, services that tell what reached them, and a server of keys."""

import asyncio
import json
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from envoy.binary import command, environment_of_envoy, find_binary
from envoy.policy import Policy
from envoy.render import render
from services.mesh import Mesh

Metadata = dict[str, str]


@dataclass
class Issuer:
    """A key pair and the tokens made with it."""

    issuer: str
    kid: str = "key-1"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def jwks(self) -> dict[str, Any]:
        public = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": self.kid, "alg": "ES256", "use": "sig"}]}

    def token(self, **claims: Any) -> str:
        """Returns a good token, but for the claims given; None leaves one out."""
        now = int(time.time())
        stated = {"iss": self.issuer, "aud": "astra", "iat": now, "exp": now + 300, **claims}
        stated = {name: value for name, value in stated.items() if value is not None}
        return jwt.encode(stated, self.key, algorithm="ES256", headers={"kid": self.kid})


class Echo(grpc.GenericRpcHandler):
    """A gRPC service that answers any method with what reached it, and fails or dawdles as its caller asks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: Counter[str] = Counter()
        """Calls by correlation id."""
        self.failing = False
        self.healthy = True
        self.dawdling_seconds = 0.0
        self._server: grpc.aio.Server | None = None

    async def start(
        self, port: int, credentials: grpc.ServerCredentials | None = None, *, streams: int | None = None
    ) -> None:
        """Serves; with `streams` at most so many calls at a time on a connection."""
        options = [("grpc.so_reuseport", 0), *([("grpc.max_concurrent_streams", streams)] if streams else [])]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((self,))
        if credentials is None:
            self._server.add_insecure_port(f"127.0.0.1:{port}")
        else:
            self._server.add_secure_port(f"127.0.0.1:{port}", credentials)
        await self._server.start()

    async def stop(self) -> None:
        if self._server:
            await self._server.stop(None)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        healthy = handler_call_details.method == "/grpc.health.v1.Health/Check"
        return grpc.unary_unary_rpc_method_handler(self._serving if healthy else self._echo)

    async def _serving(self, _request: bytes, _context: Any) -> bytes:
        return b"\x08\x01" if self.healthy else b"\x08\x02"

    async def _echo(self, _request: bytes, context: Any) -> bytes:
        metadata = dict(context.invocation_metadata())
        call = metadata.get("x-correlation-id", "")
        self.calls[call] += 1
        if self.failing or self.calls[call] <= int(metadata.get("test-fail", 0)):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as asked")
        await asyncio.sleep(self.dawdling_seconds + float(metadata.get("test-sleep", 0)))
        answer = {"service": self.name, "metadata": metadata, "remaining_seconds": context.time_remaining()}
        return json.dumps(answer, default=str).encode()


class Jwks:
    """The HTTP listener with the users' keys."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self._runner: web.AppRunner | None = None

    async def start(self, port: int, ssl_context: ssl.SSLContext | None = None) -> None:
        app = web.Application()
        app.router.add_get("/jwks.json", self._keys)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=ssl_context).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _keys(self, _request: web.Request) -> web.Response:
        return web.json_response(self.issuer.jwks())


@dataclass
class Answer:
    """How a call ended, and what the service saw of it."""

    code: grpc.StatusCode
    details: str = ""
    seen: dict[str, Any] = field(default_factory=dict)
    trailers: Metadata = field(default_factory=dict)

    @property
    def metadata(self) -> Metadata:
        return dict(self.seen["metadata"])


class RunningEnvoy:
    """The real binary on a rendering for a mesh of free ports."""

    def __init__(self, mesh: Mesh, services: Issuer, policy: Policy | None = None) -> None:
        self.mesh = mesh
        self.rendering = render(mesh, json.dumps(services.jwks()), policy)
        self._process: asyncio.subprocess.Process | None = None
        self._channels: list[grpc.aio.Channel] = []

    async def start(self) -> None:
        self.rendering.write()
        with (self.mesh.state_dir / "log" / "envoy.log").open("wb") as log:
            line = [*command(find_binary(), self.rendering.bootstrap), "--disable-hot-restart"]
            env = environment_of_envoy()
            self._process = await asyncio.create_subprocess_exec(*line, env=env, stdout=log, stderr=log)
        await until(self._ready)

    async def stop(self) -> None:
        for channel in self._channels:
            await channel.close()
        if self._process:
            if self._process.returncode is None:
                self._process.terminate()
            await asyncio.wait_for(self._process.wait(), 10)

    def channel(self, listener: str, authority: str = "") -> grpc.aio.Channel:
        options = [("grpc.default_authority", authority)] if authority else []
        self._channels.append(grpc.aio.insecure_channel(self.mesh.addresses[listener], options=options))
        return self._channels[-1]

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    async def _ready(self) -> bool:
        assert self._process
        assert self._process.returncode is None, (self.mesh.state_dir / "log" / "envoy.log").read_text()
        return await admin_ready(self.mesh)


async def admin_ready(mesh: Mesh) -> bool:
    """Tells whether Envoy has its configuration, and so its listeners."""
    url = f"http://{mesh.addresses['envoy-admin']}/ready"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session, session.get(url) as got:
            return got.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def call(
    channel: grpc.aio.Channel, path: str, headers: Metadata | None = None, timeout_seconds: float | None = 4
) -> Answer:
    """Calls any method and returns how it ended."""
    metadata = tuple((headers or {}).items())
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    running = method(b"", metadata=metadata, timeout=timeout_seconds)
    try:
        raw = await running
    except grpc.aio.AioRpcError as error:
        trailers = {**_plain(error.initial_metadata()), **_plain(error.trailing_metadata())}
        return Answer(error.code(), error.details() or "", trailers=trailers)
    return Answer(grpc.StatusCode.OK, seen=json.loads(raw), trailers=_plain(await running.initial_metadata()))


def spare_ports(count: int) -> list[int]:
    """Returns ports that are free now, all different because all are held until the last is found."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(item.getsockname()[1]) for item in sockets]


def children(pid: int) -> list[str]:
    """Returns the ids of a process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def bearer(token: str) -> Metadata:
    return {"authorization": f"Bearer {token}"}


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float = 10, every_seconds: float = 0.02) -> None:
    """Asks until it holds; a deadline, not a wait."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 -- what is asked is another process
            await asyncio.sleep(every_seconds)


def _plain(metadata: Iterable[tuple[str, str | bytes]] | None) -> Metadata:
    return {key: str(value) for key, value in metadata or ()}
