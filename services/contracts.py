"""What the protos say: the descriptor set, the rpcs with their options, and the catalogue of events.

Nobody types a stream name: `astra.trading.v1.TradeExecuted` is the stream `astra.trading.trade_executed.v1`.
"""

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from astra.api.v1 import access_pb2
from astra.event.v1 import envelope_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions
from google.protobuf.message import Message

from services.mesh import ROOT, SERVICES

DESCRIPTORS = ROOT / "gen" / "descriptors.binpb"
"""The one descriptor set, made by `make gen`: gateway, Envoy, reflection and grpcurl read it."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method of a service, with what its options declare."""

    path: str
    """`/astra.trading.v1.TradingService/ExecuteTrade`."""
    name: str
    service: str
    """Full name, `astra.trading.v1.TradingService`."""
    domain: str
    """Name on the map, or `event` and `bridge` for what several or other processes serve."""
    allow: frozenset[str]
    """Levels that let a caller in: `OPEN`, `PUBLIC`, `SELF`, `ADMIN`, `SERVICE`."""
    acting_user: str
    """Field of the request with the acting user; empty for none."""
    read_only: bool
    """Declared `NO_SIDE_EFFECTS`: may be retried freely."""
    server_streaming: bool
    request: type[Message]
    response: type[Message]
    error_reasons: tuple[str, ...]

    @property
    def public(self) -> bool:
        """Whether the public listener serves it: everything but what is for services alone."""
        return self.allow != {"SERVICE"}


@dataclass(frozen=True, slots=True)
class EventType:
    """One event of the catalogue."""

    stream: str
    domain: str
    message: type[Message]
    subject_field: str
    user_field: str
    """Field with the user it concerns; empty for none."""

    @property
    def full_name(self) -> str:
        return str(self.message.DESCRIPTOR.full_name)


@cache
def descriptor_set() -> FileDescriptorSet:
    """Reads the descriptor set and imports the code generated from it."""
    if not DESCRIPTORS.exists():
        raise SystemExit(f"{DESCRIPTORS} is missing: run `make gen`")
    files = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    for file in files.file:
        if file.name.startswith("astra/"):
            importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
    return files


@cache
def rpcs() -> Mapping[str, Rpc]:
    """Returns every rpc of the mesh by its path."""
    pool = descriptor_pool.Default()
    found = {}
    for file in descriptor_set().file:
        if not file.name.startswith("astra/"):
            continue
        for service in file.service:
            full_name = f"{file.package}.{service.name}"
            for method in pool.FindServiceByName(full_name).methods:
                options: Any = method.GetOptions()
                rule = options.Extensions[access_pb2.access]
                rpc = Rpc(
                    path=f"/{full_name}/{method.name}",
                    name=method.name,
                    service=full_name,
                    domain=file.package.split(".")[1],
                    allow=frozenset(access_pb2.Access.Name(level).removeprefix("ACCESS_") for level in rule.allow),
                    acting_user=rule.acting_user,
                    read_only=options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
                    server_streaming=bool(method.server_streaming),
                    request=message_factory.GetMessageClass(method.input_type),
                    response=message_factory.GetMessageClass(method.output_type),
                    error_reasons=tuple(options.Extensions[access_pb2.error_reasons]),
                )
                found[rpc.path] = _checked(rpc, method)
    return found


def _checked(rpc: Rpc, method: MethodDescriptor) -> Rpc:
    """Refuses an rpc whose access is missing or does not fit its request."""
    if not rpc.allow or "UNSPECIFIED" in rpc.allow:
        raise ValueError(f"{rpc.path} declares no access: add `option (astra.api.v1.access)` to its rpc")
    if ("SELF" in rpc.allow) != bool(rpc.acting_user):
        raise ValueError(f"{rpc.path}: ACCESS_SELF and `acting_user` go together")
    if rpc.acting_user and rpc.acting_user not in method.input_type.fields_by_name:
        raise ValueError(f"{rpc.path}: its request has no field {rpc.acting_user!r} for the acting user")
    return rpc


@cache
def events() -> Mapping[str, EventType]:
    """Returns the catalogue: every event that is published, by its stream."""
    found = {}
    for message in _messages():
        options: Any = message.GetOptions()
        if not options.HasExtension(envelope_pb2.event):
            continue
        mark = options.Extensions[envelope_pb2.event]
        if mark.retired:
            continue
        for name in filter(None, (mark.subject, mark.user)):
            if name not in message.fields_by_name:
                raise ValueError(f"{message.full_name}: the event option names {name!r}, which is no field of it")
        event = message_factory.GetMessageClass(message)
        stream = stream_of(event)
        found[stream] = EventType(
            stream=stream,
            domain=stream.split(".")[1],
            message=event,
            subject_field=mark.subject,
            user_field=mark.user,
        )
    return found


@cache
def retired_streams() -> frozenset[str]:
    """Returns the streams of events that are published no more."""
    return streams_in(descriptor_set(), retired=True)


def streams_in(files: FileDescriptorSet, *, retired: bool = False) -> frozenset[str]:
    """Returns the streams of a descriptor set's events: those that it publishes, or those that it has retired."""
    found = set()
    for file in files.file:
        for message in file.message_type:
            options: Any = message.options
            marked = options.HasExtension(envelope_pb2.event)
            if marked and options.Extensions[envelope_pb2.event].retired == retired:
                found.add(_stream(f"{file.package}.{message.name}"))
    return frozenset(found)


def stream_of(event: type[Message]) -> str:
    """Returns the stream of an event: `astra.{domain}.{event}.v{version}`."""
    return _stream(event.DESCRIPTOR.full_name)


@cache
def _stream(full_name: str) -> str:
    root, domain, version, name = full_name.split(".")
    return f"{root}.{domain}.{re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()}.{version}"


def family_of(stream: str) -> str:
    """Returns a stream without its version: what all versions of an event share."""
    return stream.rpartition(".v")[0]


def streams_of(domain: str) -> list[str]:
    """Returns the streams that a domain publishes, sorted."""
    return sorted(stream for stream, event in events().items() if event.domain == domain)


def _messages() -> Iterator[Descriptor]:
    pool = descriptor_pool.Default()
    domains = {service.name for service in SERVICES}
    for file in descriptor_set().file:
        if file.name.startswith("astra/") and file.package.split(".")[1] in domains:
            yield from pool.FindFileByName(file.name).message_types_by_name.values()
