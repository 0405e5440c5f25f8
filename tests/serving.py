"""Serves a domain in process and calls it as somebody, the way Envoy would hand the call on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from services.domain import Domain
from services.process import apis_of
from services.runtime.revocations import Revocations
from services.runtime.server import Server
from services.runtime.statuses import reason_of

__all__ = ["Metadata", "as_service", "as_user", "reason_of", "served", "serving"]

Metadata = tuple[tuple[str, str], ...]


@asynccontextmanager
async def served(domain: Domain, revocations: Revocations | None = None) -> AsyncIterator[str]:
    """Serves a domain on a free port, yields its address, and stops it and its store."""
    server = Server("127.0.0.1:0", apis_of(domain), revocations)
    await server.start()
    try:
        yield server.address
    finally:
        domain.store.wakeups.stop()
        await server.stop()
        await domain.store.close()


@asynccontextmanager
async def serving(domain: Domain, revocations: Revocations | None = None) -> AsyncIterator[grpc.aio.Channel]:
    """Serves a domain and yields a channel to it."""
    async with served(domain, revocations) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


def as_user(user_id: str, *roles: str) -> Metadata:
    """Returns the headers of a user's call."""
    return (("x-astra-user", user_id), ("x-astra-roles", " ".join(("user", *roles))))


def as_service(name: str) -> Metadata:
    """Returns the headers of a process's call."""
    return (("x-astra-service", f"service:{name}"),)
