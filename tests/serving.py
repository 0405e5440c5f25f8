"""Serves a domain in process and calls it as somebody, the way Envoy would hand the call on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from bridge.bus.group_api import GroupApi
from services.domain import Domain
from services.runtime.outbox_service import OutboxApi
from services.runtime.server import Server

Metadata = tuple[tuple[str, str], ...]


@asynccontextmanager
async def served(domain: Domain) -> AsyncIterator[str]:
    """Serves a domain on a free port, yields its address, and stops it and its store."""
    apis = {
        **domain.apis,
        "astra.event.v1.OutboxService": OutboxApi(domain.store),
        "astra.event.v1.GroupService": GroupApi(domain.store, domain.groups),
    }
    server = Server("127.0.0.1:0", apis)
    await server.start()
    try:
        yield server.address
    finally:
        domain.store.wakeups.stop()
        await server.stop()
        await domain.store.close()


@asynccontextmanager
async def serving(domain: Domain) -> AsyncIterator[grpc.aio.Channel]:
    """Serves a domain and yields a channel to it."""
    async with served(domain) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


def as_user(user_id: str, *roles: str) -> Metadata:
    """Returns the headers of a user's call."""
    return (("x-astra-user", user_id), ("x-astra-roles", " ".join(("user", *roles))))


def as_service(name: str) -> Metadata:
    """Returns the headers of a process's call."""
    return (("x-astra-service", f"service:{name}"),)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Returns the AIP-193 reason in a failed call; empty if it has none."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return str(info.reason)
    return ""
