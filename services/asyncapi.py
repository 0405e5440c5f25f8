"""The AsyncAPI 3.0 document of the bus: streams are channels, events their messages, domains send, groups receive."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from protobuf import DescMessage, Registry

from bridge.groups import Group, routes
from gateway.api import registry_of
from gateway.openapi.comments import comments_of, summary_of
from gateway.openapi.schemas import Schema, Schemas
from services import contracts, process
from services.mesh import SERVICES, Mesh

ENVELOPE = "astra.event.v1.Envelope"
_DESCRIPTION = """Every event is one entry of a Redis stream `astra.{domain}.{event}.v{version}`. The entry's only
field, `e`, is a serialised `astra.event.v1.Envelope` with the attributes of CloudEvents 1.0 (here: the headers); its
`data` is the event, serialised (here, in its JSON form: the payload). Within a stream order is that of the outbox; over
streams none is promised. A group has the effect of each event once."""


async def document_of_the_mesh() -> bytes:
    """Returns the document of the descriptor set and the domains as they are now."""
    return document(registry_of(contracts.DESCRIPTORS.read_bytes()), await groups_of_the_mesh(), version="1")


async def groups_of_the_mesh() -> dict[str, tuple[Group, ...]]:
    """Returns every domain's groups. A domain brings them with a database, so it gets one for the moment."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        mesh = Mesh.at(Path(folder), free_ports=True)
        for service in SERVICES:
            domain = process.build(service.name, mesh)
            found[service.name] = tuple(domain.groups)
            await domain.store.close()
    return found


def document(registry: Registry, groups: Mapping[str, tuple[Group, ...]], *, version: str) -> bytes:
    """Returns the document as JSON. `groups` are those of each domain."""
    comments = comments_of(registry)
    schemas = Schemas(registry, comments)
    channels: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for stream, kind in sorted(contracts.events().items()):
        said = comments.get(kind.full_name, "")
        message = _described(registry, kind.full_name)
        messages[kind.full_name] = {
            "name": kind.full_name,
            "title": message.name,
            "summary": summary_of(said),
            "contentType": "application/protobuf",
            "headers": _headers(schemas, _described(registry, ENVELOPE)),
            "payload": schemas.message(message),
            "correlationId": {"location": "$message.header#/correlationId"},
            "tags": [{"name": kind.domain}],
        }
        channels[stream] = {
            "address": stream,
            "title": message.name,
            "description": said,
            "messages": {kind.full_name: {"$ref": f"#/components/messages/{kind.full_name}"}},
            "servers": [{"$ref": "#/servers/redis"}],
        }
        title = f"{kind.domain} publishes {message.name}"
        operations[f"{kind.domain}.publishes.{stream}"] = _operation("send", title, stream, kind.full_name, kind.domain)
    for domain, group, stream in _reading(groups):
        kind = contracts.events()[stream]
        title = f"{group.name} ({domain}) reads {kind.message.DESCRIPTOR.name}"
        operations[f"{group.name}.reads.{stream}"] = _operation("receive", title, stream, kind.full_name, group.name)
    return json.dumps(
        {
            "asyncapi": "3.0.0",
            "info": {"title": "AstraTrade mesh: events", "version": version, "description": _DESCRIPTION},
            "defaultContentType": "application/protobuf",
            "servers": {
                "redis": {"host": "localhost:16379", "protocol": "redis", "description": "The Redis of the mesh."}
            },
            "channels": channels,
            "operations": operations,
            "components": {"messages": messages, "schemas": dict(sorted(schemas.components.items()))},
        },
        ensure_ascii=False,
        indent=1,
    ).encode()


def _reading(groups: Mapping[str, tuple[Group, ...]]) -> Iterator[tuple[str, Group, str]]:
    for domain, own in sorted(groups.items()):
        for group in sorted(own, key=lambda group: group.name):
            for stream in sorted(routes(group, domain)):
                yield domain, group, stream


def _operation(action: str, title: str, stream: str, message: str, tag: str) -> dict[str, Any]:
    # A channel's messages are named by their full names, whose dots a JSON pointer leaves alone.
    return {
        "action": action,
        "title": title,
        "channel": {"$ref": f"#/channels/{stream}"},
        "messages": [{"$ref": f"#/channels/{stream}/messages/{message}"}],
        "tags": [{"name": tag}],
    }


def _headers(schemas: Schemas, envelope: DescMessage) -> Schema:
    """Returns the envelope's attributes but for the event itself."""
    return schemas.fields_of(envelope, without={"data"})


def _described(registry: Registry, full_name: str) -> DescMessage:
    message = registry.message(full_name)
    if message is None:
        raise LookupError(f"{full_name} is not in the descriptor set: run `make gen`")
    return message
