"""The rate limit service: counts, for all Envoys together, what must hold over several of them.

Speaks Envoy's protocol `envoy.service.ratelimit.v3`. An answer it cannot give is UNAVAILABLE, and Envoy lets the call
pass (`failure_mode_allowed` in its statistics).
"""

import asyncio
import math
import signal
from typing import Any

import grpc
import structlog
from astra.ratelimit.v1.ratelimit_pb2 import HeaderValue, RateLimitDescriptor, RateLimitRequest, RateLimitResponse
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from services.mesh import Mesh
from services.runtime.certificates import server_credentials
from services.runtime.limiter import Limiter, Standing
from services.runtime.pulse import beating
from services.telemetry.face import shown

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
STOP_SECONDS = 1.0

log = structlog.get_logger()


class RateLimitApi:
    """Answers Envoy. Each descriptor is a limit's name, then the caller."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def should_rate_limit(self, request: RateLimitRequest, context: Any) -> RateLimitResponse:
        """Counts the call for each descriptor."""
        standings = [await self._counted(descriptor) for descriptor in request.descriptors]
        known = [standing for standing in standings if standing is not None]
        if len(known) < len(standings):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "calls cannot be counted now")
        return response_of(known)

    async def _counted(self, descriptor: RateLimitDescriptor) -> Standing | None:
        limit, *caller = [(entry.key, entry.value) for entry in descriptor.entries]
        return await self._limiter.hit(limit[1], *(f"{key}={value}" for key, value in caller))


def response_of(standings: list[Standing]) -> RateLimitResponse:
    """Returns the answer; with `retry-after` if the call is refused."""
    code = RateLimitResponse.Code
    response = RateLimitResponse(overall_code=code.CODE_OK)
    for standing in standings:
        status = response.statuses.add(code=code.CODE_OK if standing.allowed else code.CODE_OVER_LIMIT)
        status.current_limit.requests_per_unit = standing.per_minute
        status.current_limit.unit = RateLimitResponse.RateLimit.Unit.UNIT_MINUTE
        status.limit_remaining = standing.remaining
        status.duration_until_reset.FromSeconds(math.ceil(standing.reset_seconds))
    if refused := [standing for standing in standings if not standing.allowed]:
        response.overall_code = code.CODE_OVER_LIMIT
        wait_seconds = max(1, *(math.ceil(standing.reset_seconds) for standing in refused))
        response.response_headers_to_add.append(HeaderValue(key="retry-after", value=str(wait_seconds)))
    return response


class RateLimitServer:
    """The gRPC server, with health checks."""

    def __init__(self, address: str, limiter: Limiter, *, credentials: grpc.ServerCredentials | None = None) -> None:
        self._limiter = limiter
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.unary_unary_rpc_method_handler(
            RateLimitApi(limiter).should_rate_limit,
            request_deserializer=RateLimitRequest.FromString,
            response_serializer=RateLimitResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"ShouldRateLimit": handler}),)
        )
        self._health = HealthServicer()
        add_HealthServicer_to_server(self._health, self._server)
        if credentials is None:
            self._server.add_insecure_port(address)
        else:
            self._server.add_secure_port(address, credentials)

    async def start(self) -> None:
        """Connects to Redis, if it is there, and serves."""
        if not await self._limiter.ping():
            log.error("limits.open", why="Redis does not answer", do="bring Redis back")
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(STOP_SECONDS)
        await self._limiter.close()


async def serve(mesh: Mesh) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    limiter = Limiter(mesh)
    server = RateLimitServer(mesh.listens("ratelimit"), limiter, credentials=server_credentials(mesh, "ratelimit"))

    async def redis() -> str:
        return "" if await limiter.ping() else "Redis does not answer: calls pass uncounted"

    await server.start()
    log.info("ratelimit.serving", address=mesh.addresses["ratelimit"])
    async with beating():
        with shown(mesh, "ratelimit", "ratelimit", {"redis": redis}):
            await stop.wait()
    await server.stop()
