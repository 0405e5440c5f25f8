"""The update mask of a PATCH, made from the keys of its body (rule 11, AIP-134)."""

from typing import Any

from protobuf import DescFieldValueEnum, DescFieldValueList, DescFieldValueMessage, DescFieldValueScalar, DescMessage

from gateway.fields import field_named, is_json_scalar

_STRUCT = "google.protobuf.Struct"
_NO_OBJECT = (DescFieldValueScalar, DescFieldValueEnum, DescFieldValueList)


class NoMask(ValueError):
    """The body has a shape that its type cannot have."""


def mask_of(message: DescMessage, tree: Any) -> list[str]:
    """Returns the paths a body sets, in proto names and sorted. Lists, maps and `Any` are set as a whole.

    Raises:
        NoMask: the body names an unknown field, or has an object where the type has a scalar.
    """
    return sorted(_paths(message, tree, ""))


def _paths(message: DescMessage, tree: Any, prefix: str) -> list[str]:
    found: list[str] = []
    for key, value in tree.items():
        field = field_named(message, key)
        if field is None:
            raise NoMask(f"{message.type_name} has no field {key!r}")
        path = prefix + field.name
        nested = field.value.message if isinstance(field.value, DescFieldValueMessage) else None
        if nested is not None and nested.type_name == _STRUCT and isinstance(value, dict):
            found += _free_paths(value, path)
        elif nested is not None and not is_json_scalar(nested) and isinstance(value, dict) and value:
            found += _paths(nested, value, path + ".")
        elif isinstance(value, dict) and isinstance(field.value, _NO_OBJECT):
            raise NoMask(f"{path!r} is no message, so it has no fields to set")
        else:
            found.append(path)
    return found


def _free_paths(tree: dict[str, Any], path: str) -> list[str]:
    found: list[str] = []
    for key, value in tree.items():
        here = f"{path}.{key}"
        found += _free_paths(value, here) if isinstance(value, dict) and value else [here]
    return found or [path]
