"""How Envoy's objects are written down: typed configs, durations, addresses, YAML."""

import os
from pathlib import Path
from typing import Any

import yaml

Node = dict[str, Any]
"""One object of Envoy's configuration."""


def typed(type_name: str, **fields: Any) -> Node:
    """Returns a message with its type, named without the leading `envoy.`."""
    return {"@type": f"type.googleapis.com/envoy.{type_name}", **fields}


def extension(name: str, type_name: str, **fields: Any) -> Node:
    """Returns an extension: the name Envoy knows it by and its typed configuration."""
    return {"name": name, "typed_config": typed(type_name, **fields)}


def duration(seconds: float) -> str:
    """Returns a protobuf duration, `0.05s`."""
    return f"{seconds:g}s"


def socket_address(host: str, port: int) -> Node:
    return {"socket_address": {"address": host, "port_value": port}}


def keepalive(interval_seconds: float, timeout_seconds: float) -> Node:
    """Returns HTTP/2 pings, which find a peer that is gone while a stream is silent."""
    return {"interval": duration(interval_seconds), "timeout": duration(timeout_seconds)}


def to_yaml(tree: Node) -> str:
    """Returns YAML in the order of the tree, without anchors: a diff shows each object where it is."""
    return yaml.dump(tree, Dumper=_PlainDumper, sort_keys=False, width=120, allow_unicode=True)


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file by a rename: Envoy notices only that, and never reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
