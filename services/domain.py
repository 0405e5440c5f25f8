"""A domain, ready to run: what its `build` returns and a process serves and reacts with."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.registry import Collector

from bridge.groups import Group
from services.runtime.store import Store
from services.runtime.timers import Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """The parts of one domain."""

    store: Store
    apis: Mapping[str, object]
    """API by the full name of its gRPC service; each rpc is the method with its name in snake case."""
    groups: Sequence[Group] = ()
    """Its consumer groups; run in the role `react`."""
    timers: Mapping[str, Timer] = field(default_factory=dict)
    """What to do when a row of `due` is due, by kind; run in the role `react`."""
    listeners: Sequence[Callable[[asyncio.Event], Coroutine[Any, Any, None]]] = ()
    """Further servers, each running until the event is set; run in the role `serve`."""
    readings: Sequence[Collector] = ()
    """Numbers of its own that are read when somebody asks for them."""
    workers: Sequence[Callable[[asyncio.Event], Coroutine[Any, Any, None]]] = ()
    """What else goes on until the event is set, such as sagas that wait for other domains; run in the role `react`."""
