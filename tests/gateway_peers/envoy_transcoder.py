"""Envoy's own `grpc_json_transcoder` before a backend: the same binary as the mesh's, a descriptor set, one worker."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from envoy.binary import environment_of_envoy, find_binary

_V3 = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True, slots=True)
class Transcoder:
    """A running Envoy."""

    port: int
    pid: int


@asynccontextmanager
async def transcoder(
    folder: Path,
    described: bytes,
    services: Sequence[str],
    backend: str,
    *,
    options: Mapping[str, Any] | None = None,
    access_log: bool = False,
) -> AsyncIterator[Transcoder]:
    """Runs Envoy in a folder of its own until the block ends; it is told what to transcode by `options`."""
    descriptors = folder / "transcoded.binpb"
    descriptors.write_bytes(described)
    port = free_port()
    config = folder / "transcoder.yaml"
    config.write_text(yaml.safe_dump(_bootstrap(port, descriptors, services, backend, options or {}, access_log)))
    log = (folder / "transcoder.log").open("wb")
    command = [str(find_binary()), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=log, env=environment_of_envoy()
    )
    try:
        await listening(port, process, folder / "transcoder.log")
        yield Transcoder(port, process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        log.close()


def _bootstrap(
    port: int, descriptors: Path, services: Sequence[str], backend: str, options: Mapping[str, Any], access_log: bool
) -> dict[str, Any]:
    transcoding = {
        "@type": f"{_V3}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": str(descriptors),
        "services": list(services),
        "convert_grpc_status": True,
        **options,
    }
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_V3}.filters.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "10s"}}
    manager: dict[str, Any] = {
        "@type": f"{_V3}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "rest",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.grpc_json_transcoder", "typed_config": transcoding}, router],
    }
    if access_log:
        fields = {"method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%", "ms": "%DURATION%"}
        file = {"@type": f"{_V3}.access_loggers.file.v3.FileAccessLog", "path": "/dev/null"}
        manager["access_log"] = [
            {"name": "file", "typed_config": {**file, "log_format": {"json_format": fields}}},
        ]
    host, _, backend_port = backend.rpartition(":")
    http2: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
    cluster = {
        "name": "backend",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "backend",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host, int(backend_port))}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_V3}.upstreams.http.v3.HttpProtocolOptions",
                **http2,
            }
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "rest", "address": _address("127.0.0.1", port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def listening(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(20):
        while True:
            if process.returncode is not None:
                raise AssertionError(f"the process ended; its log is {log}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
