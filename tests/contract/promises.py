"""What the descriptors and the code promise each other, whether or not anything runs: routes, streams, groups."""

import importlib
from collections.abc import Iterable, Mapping

from bridge.groups import Group, routes
from services.contracts import Rpc
from services.mesh import SERVICES
from tests.contract.rest_calls import routes_of


def groups() -> dict[str, tuple[str, Group]]:
    """Returns every consumer group by its name, with its domain."""
    return {
        group.name: (service.name, group)
        for service in SERVICES
        for group in importlib.import_module(f"services.{service.name}.reactions").GROUPS
    }


def unrouted(rpcs: Iterable[Rpc]) -> list[str]:
    """Returns public rpcs that REST does not reach."""
    return [rpc.path for rpc in rpcs if rpc.public and not routes_of(rpc)]


def astray(attached: Mapping[str, Iterable[str]], found: Mapping[str, tuple[str, Group]]) -> list[str]:
    """Returns where a bus and the code disagree: `group not on stream`, or on one that it does not read."""
    wrong = []
    read = {name: set(routes(group, domain)) for name, (domain, group) in found.items()}
    for name, streams in read.items():
        wrong += [f"{name} is not on {stream}" for stream in sorted(streams - set(attached.get(name, ())))]
    for name, on in attached.items():
        wrong += [
            f"{name} is on {stream}, which it does not read" for stream in sorted(set(on) - read.get(name, set()))
        ]
    return wrong
