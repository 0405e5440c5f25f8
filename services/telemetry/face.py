"""The HTTP face of a process: `/metrics`, `/healthz` and `/readyz`, on a thread beside its event loop.

A thread, so that it can tell when the loop is stuck. One request after the other: scrapes are seldom, and a crowd of
them shall not slow the process down.
"""

import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, disable_created_metrics, make_wsgi_app
from prometheus_client.registry import Collector

from services.mesh import ANY_HOST, HOST, METRICS_ADDRESS, Mesh, is_ip
from services.telemetry.health import Check, Health
from services.telemetry.targets import Target

REQUEST_SECONDS = 5.0
"""How long a client may take to ask."""

# They would be a second series beside each counter, which nothing here asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

log = structlog.get_logger()


class Face:
    """Answers until it is closed."""

    def __init__(self, host: str, port: int, health: Health, registry: CollectorRegistry = REGISTRY) -> None:
        """Binds and answers. Raises `OSError` when the address is taken."""
        self._health = health
        self._metrics = make_wsgi_app(registry, disable_compression=True)
        self._server = _Server((host, port), _Request)
        self._server.set_app(self._answer)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="face", daemon=True).start()

    def close(self) -> None:
        """Begins to end. Not waited for: the thread may just be asking the event loop, which is the caller's."""
        threading.Thread(target=self._end, name="face ends", daemon=True).start()

    def _end(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                rendered: Iterable[bytes] = self._metrics(environ, start_response)
                return rendered
            case "/healthz":
                return _told(start_response, self._health.alive())
            case "/readyz":
                return _told(start_response, self._health.ready())
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"there are /metrics, /healthz and /readyz\n"]


@contextmanager
def shown(
    mesh: Mesh, process: str, service: str, checks: Mapping[str, Check], *, apart: bool = False
) -> Iterator[Target | None]:
    """Shows a process for as long as the block lasts, where the map says, and announces it.

    What is `apart`, a replica or a worker, and whoever finds its port taken, has a free port. Telling is never worth a
    process: what fails is logged.
    """
    of_map = "" if apart else mesh.addresses.get(f"{process}-metrics", "")
    name, _, port = os.environ.get(METRICS_ADDRESS, of_map).rpartition(":")
    if not name and not is_ip(mesh.host("bridge")):
        name = socket.gethostbyname(socket.gethostname())  # a container that the map does not name
    try:
        face = _bound(name, int(port or 0), Health(checks))
    except OSError as error:
        log.error("face.not_shown", process=process, error=str(error))
        yield None
        return
    target = Target(process=process, service=service, address=f"{name or HOST}:{face.port}")
    path = None
    try:
        try:
            path = target.announce(mesh)
        except OSError as error:
            log.warning("face.not_announced", process=process, address=target.address, error=str(error))
        yield target
    finally:
        # Stopped in order, it is not missed; killed, it is.
        if path is not None:
            path.unlink(missing_ok=True)
        face.close()


@contextmanager
def reading(*collectors: Collector) -> Iterator[None]:
    """Has these read whenever somebody asks, for as long as the block lasts."""
    with ExitStack() as closing:
        for collector in collectors:
            REGISTRY.register(collector)
            closing.callback(REGISTRY.unregister, collector)
        yield


def _bound(host: str, port: int, health: Health) -> Face:
    # A name is how others reach this container; inside it every address is meant.
    bind = (host if is_ip(host) else ANY_HOST) if host else HOST
    try:
        return Face(bind, port, health)
    except OSError as error:
        if not port:
            raise
        log.warning("face.elsewhere", taken=f"{host}:{port}", error=str(error))
        return Face(bind, 0, health)


def _told(start_response: Callable[..., Any], wrong: Mapping[str, str]) -> Iterable[bytes]:
    start_response("503 Service Unavailable" if wrong else "200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"status": "not ready" if wrong else "ready", "wrong": dict(wrong)}).encode() + b"\n"]


class _Server(WSGIServer):
    def server_bind(self) -> None:
        # The inherited one asks the DNS for this machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no event."""


class _Request(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, *_: object) -> None:
        """Nothing: a scrape is no event."""
