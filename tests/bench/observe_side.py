"""The served side of `make bench-observe`: a gateway and a trading service in one process, without Envoy.

Told a mode on a line of its input, it changes to that and prints the CPU seconds it has used so far.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

import uvloop
from aiohttp import web

from gateway.__main__ import DESCRIPTORS
from gateway.observing import Observer
from gateway.process import running
from gateway.settings import Settings
from services.mesh import Mesh
from services.process import apis_of, build
from services.runtime import metrics, server
from services.runtime.context import Caller
from services.runtime.server import Server
from services.telemetry import tracing

MODES = ("off", "metrics", "traces")


@dataclass
class Uncounted:
    """Stands in for what counts."""

    def __call__(self, *_: object, **__: object) -> "Uncounted":
        return self

    inc = observe = labels = __call__


def nothing_counted() -> dict[tuple[object, str], Any]:
    """Returns what takes the place of all counting on the way of a request."""
    uncounted = Uncounted()
    return {
        (Observer, "began"): lambda *_: time.perf_counter(),
        (Observer, "ended"): lambda *_: None,
        (metrics.CallTimer, "ended"): lambda *_: None,
        (metrics, "of_commits"): lambda *_: (uncounted, uncounted, uncounted),
    }


@contextmanager
def counted_or_not() -> Iterator[Callable[[bool], None]]:
    """Yields a switch of all counting."""
    real = {place: getattr(*place) for place in nothing_counted()}

    def switch(on: bool) -> None:
        for (owner, name), value in (real if on else nothing_counted()).items():
            setattr(owner, name, value)

    yield switch
    switch(True)


async def serve(told: TextIO) -> None:
    """Serves until its input ends."""

    def tell(**what: float) -> None:
        print(json.dumps(what), file=told, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        mesh = replace(Mesh.at(Path(folder), free_ports=True), mtls=False)
        domain = build("trading", mesh)
        served = Server(mesh.addresses["trading"], apis_of(domain))
        caller = Caller(user_id="bench", roles=frozenset({"admin"}), token_ms=1 << 52)
        with (
            mock.patch.object(server, "caller_from", return_value=caller),
            counted_or_not() as count,
            tracing.exported("bench", "bench"),
        ):
            tracer = tracing._tracer
            await served.start()
            async with running(Settings(), DESCRIPTORS.read_bytes(), served.address) as gateway:
                await web.TCPSite(gateway.runner, "127.0.0.1", 0).start()
                tell(port=gateway.addresses[0][1])
                while mode := (await asyncio.to_thread(sys.stdin.readline)).strip():
                    count(mode != "off")
                    tracing._tracer = tracer if mode == "traces" else None
                    tell(cpu_seconds=time.process_time())
            tracing._tracer = tracer
            await served.stop()
            await domain.store.close()


if __name__ == "__main__":
    # The access log goes to the standard output too, where nobody wants it here.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    uvloop.run(serve(answers))
