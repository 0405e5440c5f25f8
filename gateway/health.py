"""The health of the services behind the gateway, asked by gRPC's health protocol and told as HTTP."""

import asyncio
import json
from collections.abc import Collection, Mapping

import grpc
from aiohttp import web
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from gateway.http2 import CallFailed, Channel
from gateway.refusal import refusal

_CHECK = "/grpc.health.v1.Health/Check"
_STATUS = {"SERVING": 200, "SERVICE_UNKNOWN": 404}


def http_status(code: grpc.StatusCode, serving_status: str | None) -> int:
    """Returns the HTTP status of a health check's outcome: whatever is not known to serve is unavailable."""
    if code is grpc.StatusCode.NOT_FOUND:
        return 404
    return _STATUS.get(serving_status or "", 503) if code is grpc.StatusCode.OK else 503


class Health:
    """Asks for the health of every service whose rpcs are served."""

    def __init__(self, channel: Channel, authorities: Mapping[str, str], within_seconds: float) -> None:
        self._channel = channel
        self._authorities = authorities
        self._within_seconds = within_seconds

    async def answer(self, path: str, services: Collection[str]) -> web.Response:
        """Answers `/health` (all services; 200 if all serve) and `/health/<service>`.

        Raises:
            Refused: there is no such service here.
        """
        asked = path.removeprefix("/health").strip("/")
        if asked and asked not in services:
            raise refusal(404, "UNKNOWN_SERVICE", f"there is no service {asked[:80]!r} here")
        if asked:
            code, state = await self._check(asked)
            return _json({"service": asked, "state": state or code.name}, http_status(code, state))
        names = sorted(services)
        outcomes = await asyncio.gather(*(self._check(name) for name in names))
        states = {name: state or code.name for name, (code, state) in zip(names, outcomes, strict=True)}
        serving = all(http_status(code, state) == 200 for code, state in outcomes)
        return _json({"services": states}, 200 if serving else 503)

    async def _check(self, service: str) -> tuple[grpc.StatusCode, str | None]:
        """Returns how a check ended and what it said."""
        request = HealthCheckRequest(service=service).SerializeToString()
        try:
            replies, _ = await self._channel.unary(
                _CHECK, request, timeout_seconds=self._within_seconds, authority=self._authorities.get(service)
            )
            answer = HealthCheckResponse.FromString(replies[0])
        except CallFailed as failed:
            return failed.code, None
        except (IndexError, DecodeError):
            return grpc.StatusCode.INTERNAL, None
        return grpc.StatusCode.OK, HealthCheckResponse.ServingStatus.Name(answer.status)


def _json(value: object, status: int) -> web.Response:
    return web.Response(
        body=json.dumps(value).encode(),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
