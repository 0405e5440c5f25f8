"""`python -m gateway`: serves the REST face of a mesh until SIGTERM, then drains."""

import asyncio
import logging
import signal
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvloop
from aiohttp import web

from gateway.process import BadDescriptors, running
from gateway.settings import Settings
from services.mesh import ROOT, Mesh

DESCRIPTORS = ROOT / "gen" / "descriptors.binpb"


def main(
    descriptors: Annotated[Path, typer.Option(help="Descriptor set with the rpcs and their http rules.")] = DESCRIPTORS,
    upstream: Annotated[str | None, typer.Option(help="HOST:PORT to call; the map's Envoy if absent.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; the map's if absent.", min=0, max=65535)] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; the map's if absent.")] = None,
    cors_origin: Annotated[list[str] | None, typer.Option(help="Origin whose pages may call; repeatable.")] = None,
) -> None:
    """Serves the REST face of the mesh: JSON over HTTP, from the http rules of the descriptor set."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    if upstream is None or port is None or host is None:
        mesh = Mesh.load()
        upstream = upstream or mesh.addresses["envoy-internal"]
        port = mesh.port("gateway") if port is None else port
        host = host or mesh.host("gateway")
    settings = Settings(cors_origins=frozenset(cors_origin or ()))
    try:
        described = descriptors.read_bytes()
    except OSError as error:
        raise SystemExit(f"{descriptors}: {error.strerror}; run `make gen`, or name a file by --descriptors") from None
    try:
        uvloop.run(serve(settings, described, upstream, host, port))
    except BadDescriptors as error:
        raise SystemExit(f"{descriptors}: {error}") from None


async def serve(settings: Settings, descriptors: bytes, upstream: str, host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT; then stops accepting, finishes what is in hand, and closes the channel."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with running(settings, descriptors, upstream) as runner:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}") from None
        structlog.get_logger("gateway").info("serving", addresses=[a[:2] for a in runner.addresses], upstream=upstream)
        await stopping.wait()
        structlog.get_logger("gateway").info("draining", seconds=settings.drain_seconds)


if __name__ == "__main__":
    typer.run(main)
