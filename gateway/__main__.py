"""`python -m gateway`: serves the REST face of a mesh until SIGTERM, then drains; SIGHUP reads the descriptors anew."""

import asyncio
import gc
import signal
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvloop
from aiohttp import web

from gateway.api import BadDescriptors
from gateway.certificates import Certificates
from gateway.process import Running, running
from gateway.settings import SessionRules, Settings
from gateway.workers import is_worker, lifeline, supervise, worker_number, worker_port
from services import contracts
from services.mesh import ROOT, Mesh
from services.runtime.certificates import CALLER, MEMBERS_CA, certificate_path, member_path, server_name
from services.runtime.logs import configure_logs
from services.telemetry import tracing
from services.telemetry.face import shown

log = structlog.get_logger("gateway")

SESSIONS = SessionRules(
    login_rpc="/astra.user.v1.UserService/Login",
    refresh_rpc="/astra.user.v1.UserService/RefreshSession",
    logout_rpc="/astra.user.v1.UserService/Logout",
)
"""Of the mesh; another project's descriptor set has none."""
DESCRIPTORS = ROOT / "gen" / "descriptors.binpb"


def main(
    descriptors: Annotated[Path, typer.Option(help="Descriptor set with the rpcs and their http rules.")] = DESCRIPTORS,
    upstream: Annotated[str | None, typer.Option(help="HOST:PORT to call; the map's Envoy if absent.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; the map's if absent.", min=0, max=65535)] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; the map's if absent.")] = None,
    insecure_cookies: Annotated[bool, typer.Option(help="Let session cookies travel without TLS.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that share the port.", min=1, max=64)] = 1,
    cors_origin: Annotated[list[str] | None, typer.Option(help="Origin whose pages may call; repeatable.")] = None,
) -> None:
    """Serves the REST face of the mesh: JSON over HTTP, from the http rules of the descriptor set."""
    configure_logs(to=sys.stdout)
    authorities: Mapping[str, str] = {}
    certificates: Certificates | None = None
    mesh: Mesh | None = None
    if upstream is None or port is None or host is None:
        mesh = Mesh.load()
        if upstream is None:
            # Every service has the same health path, so Envoy tells them apart by the authority.
            authorities = {rpc.service: f"{rpc.domain}.mesh" for rpc in contracts.rpcs().values()}
            if mesh.mtls:
                own, authority = member_path(mesh, "gateway"), certificate_path(mesh, MEMBERS_CA)
                certificates = Certificates(own, authority, server_name(CALLER))
        upstream = upstream or mesh.addresses["envoy-internal"]
        port = mesh.port("gateway") if port is None else port
        host = host or mesh.host("gateway")
    if workers > 1 and not is_worker():
        raise SystemExit(supervise(host, port, workers))
    settings = Settings(
        title="AstraTrade mesh" if authorities else "REST API",
        cors_origins=frozenset(cors_origin or ()),
        sessions=SESSIONS if authorities else None,
        secure_cookies=not insecure_cookies,
        console=bool(authorities),
    )
    try:
        where = worker_port() or port
        uvloop.run(serve(settings, descriptors, upstream, host, where, authorities, certificates, mesh))
    except BadDescriptors as error:
        raise SystemExit(f"{descriptors}: {error}") from None
    except FileNotFoundError as error:
        raise SystemExit(f"{error.filename}: no such certificate; `make run` makes it") from None


async def serve(
    settings: Settings,
    descriptors: Path,
    upstream: str,
    host: str,
    port: int,
    authorities: Mapping[str, str],
    certificates: Certificates | None = None,
    mesh: Mesh | None = None,
) -> None:
    """Serves until SIGTERM, SIGINT, or the end of its supervisor; then stops accepting, finishes what is in hand, and
    closes the channel.

    In a mesh it tells of itself; each worker does, since a scrape of the shared port would meet one of them by chance.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if (supervisor := lifeline()) is not None:
        loop.add_reader(supervisor, stopping.set)
    async with running(
        settings, _read(descriptors), upstream, authorities=authorities, certificates=certificates
    ) as process:
        loop.add_signal_handler(signal.SIGHUP, _reload, process, descriptors)
        try:
            await web.TCPSite(process.runner, host, port, reuse_port=is_worker()).start()
        except OSError as error:
            raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}") from None
        gc.freeze()  # what serves every request is no garbage: the collector need not look at it again and again
        log.info("serving", addresses=process.addresses, upstream=upstream)
        name = f"gateway-{worker_number()}" if is_worker() else "gateway"
        checks = {"upstream": process.gateway.unready}
        with (
            tracing.exported("gateway", name),
            shown(mesh, name, "gateway", checks, apart=is_worker()) if mesh else nullcontext(),
        ):
            await stopping.wait()
        if supervisor is not None:
            loop.remove_reader(supervisor)
        log.info("draining", seconds=settings.drain_seconds)


def _read(descriptors: Path) -> bytes:
    try:
        return descriptors.read_bytes()
    except OSError as error:
        raise BadDescriptors(f"{error.strerror}; run `make gen`, or name a file by --descriptors") from None


def _reload(process: Running, descriptors: Path) -> None:
    """Serves what the file says now; what cannot be served changes nothing."""
    try:
        process.reload(_read(descriptors))
    except BadDescriptors as error:
        log.error("not_reloaded", descriptors=str(descriptors), problem=str(error))
        return
    log.info("reloaded", descriptors=str(descriptors))


if __name__ == "__main__":
    typer.run(main)
