"""Compiles the protos beside it, and adds rpcs with any http rule: the descriptor sets of these tests."""

import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from astra.api.v1 import access_pb2
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from protobuf import Registry
from protobuf.wkt import FileDescriptorSet

from gateway.binding import Binder
from gateway.router import Match
from gateway.routes import Route, router_of, routes_of
from gateway.settings import Settings
from services.mesh import ROOT

PROTOS = Path(__file__).parent / "protos"
_ALSO = (
    "astra/api/v1/access.proto",
    "google/api/annotations.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
)
_PLAIN = ("get", "put", "post", "delete", "patch")


@cache
def compiled() -> bytes:
    """Returns the descriptor set of every proto beside this module, with its imports."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set.binpb"
        includes = [PROTOS, ROOT / "protos", files("google") / "..", files("grpc_tools") / "_proto"]
        arguments = ["protoc", *(f"-I{path}" for path in includes), "--include_imports", f"--descriptor_set_out={out}"]
        assert protoc.main([*arguments, *(path.name for path in sorted(PROTOS.glob("*.proto"))), *_ALSO]) == 0
        return out.read_bytes()


def with_rules(
    *rules: tuple[str, str, dict[str, Any]], response: str = "", streaming: str = "", stale_ok: bool = False
) -> bytes:
    """Returns the set with a service `cases.Cases` more: an rpc for each (request type, http method, rule).

    A rule has `path`, and `body`, `response_body` as in `google.api.http`. Replies have the request's type if no other;
    `streaming` is `server`, `client` or both of them.
    """
    described = descriptor_pb2.FileDescriptorSet.FromString(compiled())
    file = described.file.add(
        name="rules.proto", package="cases", syntax="proto3", dependency=["cases.proto", "google/api/httpbody.proto"]
    )
    service = file.service.add(name="Cases")
    for index, (request, verb, rule) in enumerate(rules):
        method = service.method.add(
            name=f"Call{index}",
            input_type=_full_name(request),
            output_type=_full_name(response or request),
            server_streaming="server" in streaming,
            client_streaming="client" in streaming,
        )
        http = http_pb2.HttpRule(**{key: value for key, value in rule.items() if key != "path"})
        if verb.lower() in _PLAIN:
            setattr(http, verb.lower(), rule["path"])
        else:
            http.custom.CopyFrom(http_pb2.CustomHttpPattern(kind=verb, path=rule["path"]))
        options: Any = method.options
        options.Extensions[annotations_pb2.http].CopyFrom(http)
        options.Extensions[access_pb2.stale_ok] = stale_ok
    return described.SerializeToString()


def _full_name(name: str) -> str:
    return f".{name}" if "." in name else f".cases.{name}"


def registry_of(described: bytes) -> Registry:
    return FileDescriptorSet.from_binary(described).to_registry()


def find(described: bytes, method: str, path: str, settings: Settings) -> tuple[Registry, Match[Route]]:
    """Routes a request."""
    registry = registry_of(described)
    return registry, router_of(routes_of(registry), settings.router).find(method, path)


def bind(
    described: bytes, method: str, path: str, query: str = "", body: bytes = b"", *, settings: Settings | None = None
) -> Any:
    """Routes and binds a request, and returns the message."""
    settings = settings or Settings()
    registry, match = find(described, method, path, settings)
    return Binder(settings, registry).bind(match, query, body).message
