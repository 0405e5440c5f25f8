"""Sends each request to both gateways, and compares what the one backend got of it."""

import asyncio
import json
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grpc
from aiohttp import web
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc import aio

from gateway.api import Api
from gateway.process import running
from gateway.settings import Settings
from tests.gateway_fuzz.generate import Request, requests, rules
from tests.gateway_peers.envoy_transcoder import transcoder

SERVICE = "cases.Cases"
OPTIONS = {
    "url_unescape_spec": "ALL_CHARACTERS_EXCEPT_SLASH",
    "query_param_unescape_plus": True,
    "request_validation_options": {
        "reject_unknown_method": True,
        "reject_unknown_query_parameters": True,
        "reject_binding_body_field_collisions": True,
    },
}
"""Envoy set as near to our rules as it can be."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request: the rpc and the message the backend got, or the status it was refused with."""

    status: int
    rpc: str = ""
    message: bytes = b""
    told: str = ""
    """The body of the answer."""

    @property
    def taken(self) -> bool:
        return bool(self.rpc)

    @property
    def shown(self) -> Any:
        """The answer's JSON, for a request that was taken; None for one that was refused."""
        return _with_floats(json.loads(self.told)) if self.taken and self.status == 200 else None

    def is_like(self, other: "Outcome") -> bool:
        """Tells whether both were taken for the same and answered with the same, or both were refused."""
        return (self.rpc, self.message, self.shown) == (other.rpc, other.message, other.shown)


@dataclass(frozen=True, slots=True)
class Rule:
    """An http rule, as far as it explains differences."""

    template: str
    verb: str
    variables: tuple[str, ...]
    """Field paths the path sets."""
    body: str | None
    """Field the body fills, empty for the whole request, None without a body."""


@dataclass(frozen=True, slots=True)
class Difference:
    request: Request
    ours: Outcome
    theirs: Outcome
    rule: Rule | None
    """The one that took it here, or there; None if neither did."""


@dataclass
class Result:
    pairs: int = 0
    taken: int = 0
    """Requests that both passed on, alike."""
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[Difference] = field(default_factory=list)


Explain = Callable[[Difference], str | None]


async def fuzz(
    seed: int, pairs: int, explain: Explain, *, per_set: int = 1000, settings: Settings | None = None
) -> Result:
    """Compares a number of requests, with new rules every so often. Other settings than ours make us wrong."""
    result = Result()
    random = Random(seed)
    while result.pairs < pairs:
        described = rules(random)
        made = list(requests(random, described, min(per_set, pairs - result.pairs)))
        for request, ours, theirs in await _outcomes(described, made, settings or Settings()):
            result.pairs += 1
            if ours.is_like(theirs) and ours.status < 500:
                result.taken += ours.taken
                continue
            difference = Difference(request, ours, theirs, _rule(described, ours.rpc or theirs.rpc))
            if rule := explain(difference):
                result.explained[rule] += 1
            else:
                result.unexplained.append(difference)
    return result


async def _outcomes(
    described: bytes, made: Sequence[Request], settings: Settings
) -> list[tuple[Request, Outcome, Outcome]]:
    seen: dict[str, tuple[str, bytes]] = {}
    server = aio.server()
    server.add_generic_rpc_handlers((_echo(described, seen),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with (
                running(settings, described, address) as ours,
                transcoder(Path(folder), described, [SERVICE], address, options=OPTIONS) as theirs,
            ):
                await web.TCPSite(ours.runner, "127.0.0.1", 0).start()
                here, there = await asyncio.gather(
                    _ask(ours.addresses[0][1], made, "ours", seen), _ask(theirs.port, made, "theirs", seen)
                )
                return list(zip(made, here, there, strict=True))
    finally:
        await server.stop(None)


async def _ask(port: int, made: Sequence[Request], side: str, seen: dict[str, tuple[str, bytes]]) -> list[Outcome]:
    """Asks over one connection, byte by byte as generated: a client library would correct the slips."""
    outcomes: list[Outcome] = []
    streams = await asyncio.open_connection("127.0.0.1", port)
    for number, request in enumerate(made):
        reader, writer = streams
        name = f"{side}-{number}"
        head = f"{request.method} {request.target} HTTP/1.1\r\nHost: x\r\nX-Correlation-ID: {name}\r\n"
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            head += f"Content-Type: application/json\r\nContent-Length: {len(request.body)}\r\n"
        writer.write(head.encode("latin-1") + b"\r\n" + request.body)
        async with asyncio.timeout(20):
            answer = await reader.readuntil(b"\r\n\r\n")
            headers = answer.lower()
            if b"transfer-encoding: chunked" in headers:
                told = b""
                while size := int(await reader.readline(), 16):
                    told += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            else:
                length = headers.partition(b"content-length:")[2].partition(b"\r\n")[0]
                told = await reader.readexactly(int(length or 0))
        if b"connection: close" in headers:
            writer.close()
            streams = await asyncio.open_connection("127.0.0.1", port)
        rpc, message = seen.get(name, ("", b""))
        outcomes.append(Outcome(int(answer.split()[1]), rpc, message, told.decode("utf-8", "replace")))
    streams[1].close()
    return outcomes


def _echo(described: bytes, seen: dict[str, tuple[str, bytes]]) -> Any:
    """Returns a backend that parses with Google's protobuf, not with the runtime the gateway uses."""
    pool = descriptor_pool.DescriptorPool()
    for file in FileDescriptorSet.FromString(described).file:
        pool.Add(file)
    handlers: dict[str, Any] = {}
    for method in pool.FindServiceByName(SERVICE).methods:
        message = message_factory.GetMessageClass(method.input_type)

        async def answer(request: Any, context: Any, name: str = method.name) -> Any:
            metadata = dict(context.invocation_metadata())
            seen[metadata["x-correlation-id"]] = name, request.SerializeToString(deterministic=True)
            return request

        handlers[method.name] = grpc.unary_unary_rpc_method_handler(
            answer, message.FromString, lambda reply: reply.SerializeToString()
        )
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _with_floats(tree: Any) -> Any:
    """Returns an answer with its floats as the 32 bits they are: one may be written with more digits than another."""
    if not isinstance(tree, dict):
        return tree
    return {
        name: struct.pack("f", value)
        if name in ("floatValue", "wrapperFloatValue") and isinstance(value, float | int)
        else _with_floats(value)
        for name, value in tree.items()
    }


def _rule(described: bytes, rpc: str) -> Rule | None:
    for route in Api.of(Settings(), described).routes:
        if rpc and route.rpc == f"/{SERVICE}/{rpc}":
            body = None if route.body is None else ".".join(step.name for step in route.body)
            variables = tuple(variable.name for variable in route.variables)
            return Rule(route.template.text, route.template.verb, variables, body)
    return None
