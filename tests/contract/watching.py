"""Sees the bus as an operator does, by `BusService` through Envoy: its streams, its groups, what goes over it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc
from astra.bridge.v1.bus_pb2 import BusEvent, StreamStatus
from astra.bridge.v1.bus_service_pb2 import (
    GetBusStatusRequest,
    GetBusStatusResponse,
    WatchEventsRequest,
    WatchEventsResponse,
)

from tests.contract.deployment import Deployment

BUS = "/astra.bridge.v1.BusService"
TIMEOUT_SECONDS = 10.0
QUIET_SECONDS = 1.0


class Bus:
    """The bus of a mesh, asked as an admin."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._channel = grpc.aio.insecure_channel(deployment.public)

    async def close(self) -> None:
        await self._channel.close()

    async def status(self) -> Sequence[StreamStatus]:
        """Returns every stream with its groups."""
        ask: Any = self._channel.unary_unary(
            f"{BUS}/GetBusStatus",
            request_serializer=GetBusStatusRequest.SerializeToString,
            response_deserializer=GetBusStatusResponse.FromString,
        )
        answer = await ask(GetBusStatusRequest(), metadata=self._metadata(), timeout=TIMEOUT_SECONDS)
        return list(answer.streams)

    async def unfinished(self) -> dict[str, str]:
        """Returns what groups have still to do or have given up, by `group stream`."""
        return {
            f"{group.group} {stream.stream}": f"{group.lag} behind, {group.pending} pending, {group.dead_letters} dead"
            for stream in await self.status()
            for group in stream.groups
            if group.lag or group.pending or group.dead_letters
        }

    async def settle(self, *, seconds: float = 30) -> dict[str, str]:
        """Waits until every group has done everything; returns what is left when the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                left = await self.unfinished()
            except grpc.aio.AioRpcError as error:
                left = {"GetBusStatus": f"{error.code().name} {error.details()}"}
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.1)

    async def events_since(self, seconds: float) -> list[BusEvent]:
        """Returns what was recorded since then (`time.time`), decoded by the bridge, until nothing more comes."""
        request = WatchEventsRequest()
        request.start_time.FromMilliseconds(int(seconds * 1000))
        watch: Any = self._channel.unary_stream(
            f"{BUS}/WatchEvents",
            request_serializer=WatchEventsRequest.SerializeToString,
            response_deserializer=WatchEventsResponse.FromString,
        )
        call = watch(request, metadata=self._metadata(), timeout=60)
        events: list[BusEvent] = []
        try:
            while True:
                async with asyncio.timeout(QUIET_SECONDS):
                    answer = await call.read()
                if answer is grpc.aio.EOF:
                    return events
                events.append(answer.event)
        except TimeoutError:
            return events
        finally:
            call.cancel()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._deployment.admin.token}"),)
