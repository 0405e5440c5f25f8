"""`make status`: the whole mesh on one screen, as its processes tell it themselves."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group
from rich.table import Table

from services.mesh import Mesh
from services.telemetry.targets import Target, read_targets

ANSWER_SECONDS = 5.0
BETWEEN_SECONDS = 1.0
"""Over how long rates are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """How one process stands."""

    process: str
    address: str
    state: str
    """`ready`, `not ready` or `away`."""
    wrong: Mapping[str, str]
    memory_mb: float
    cpu_percent: float
    calls_per_second: float
    """Calls that it answered: rpcs, and of the gateway requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatus:
    """How one consumer group stands, over all its streams."""

    group: str
    waiting: int
    in_hand: int
    oldest_seconds: float
    dead_letters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshStatus:
    """How the mesh stands."""

    processes: Sequence[ProcessStatus]
    groups: Sequence[GroupStatus]
    bus: Mapping[str, float] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        return bool(self.processes) and all(one.state == "ready" for one in self.processes)

    def text(self) -> str:
        """Returns it as JSON."""
        return json.dumps({"well": self.well, **asdict(self)}, indent=2)


class Numbers:
    """What a process showed at one moment."""

    def __init__(self, families: Iterable[Metric] = ()) -> None:
        self._samples = [sample for family in families for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """Returns the sum of all series with these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
        )

    def most(self, name: str, **labels: str) -> float:
        found = [
            sample.value
            for sample in self._samples
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
        ]
        return max(found, default=0.0)

    def values_of(self, name: str, label: str) -> list[str]:
        return sorted({sample.labels[label] for sample in self._samples if sample.name == name})


def look(mesh: Mesh, *, between_seconds: float = BETWEEN_SECONDS) -> MeshStatus:
    """Asks every process that is announced, twice, for its rates."""
    targets = read_targets(mesh)
    with ThreadPoolExecutor(max(1, len(targets))) as askers:
        earlier = list(askers.map(_numbers, targets))
        began = time.monotonic()
        health = list(askers.map(_health, targets))
        time.sleep(max(0.0, between_seconds - (time.monotonic() - began)))
        seconds = time.monotonic() - began
        later = list(askers.map(_numbers, targets))
    processes = [
        _process(target, wrong, before, after, seconds)
        for target, wrong, before, after in zip(targets, health, earlier, later, strict=True)
    ]
    bridges = [numbers for target, numbers in zip(targets, later, strict=True) if target.service == "bridge"]
    bus = bridges[0] if bridges else Numbers()
    groups = [_group(bus, name) for name in bus.values_of("astra_bus_group_lag_entries", "group")]
    state = {
        "redis_memory_percent": round(100 * bus.most("astra_bus_redis_memory_ratio"), 1),
        "appends_paused": bus.most("astra_bus_paused"),
        "streams_stopped": bus.total("astra_bus_stream_stopped"),
        "appended": bus.total("astra_bus_appended_entries_total"),
    }
    return MeshStatus(processes=processes, groups=groups, bus=state if bridges else {})


def show(console: Console, status: MeshStatus) -> None:
    """Prints it for people."""
    processes = Table("Process", "", "Memory", "CPU", "Calls/s", "What is wrong", box=None, pad_edge=False)
    colours = {"ready": "green", "not ready": "yellow", "away": "red"}
    for one in status.processes:
        processes.add_row(
            one.process,
            f"[{colours[one.state]}]{one.state}[/]",
            f"{one.memory_mb:.0f} MB",
            f"{one.cpu_percent:.0f} %",
            f"{one.calls_per_second:.1f}",
            "; ".join(f"{name}: {why}" for name, why in one.wrong.items()),
        )
    groups = Table("Group", "Waiting", "In hand", "Oldest", "Dead letters", box=None, pad_edge=False)
    for group in status.groups:
        dead = f"[red]{group.dead_letters}[/]" if group.dead_letters else "0"
        groups.add_row(group.group, str(group.waiting), str(group.in_hand), f"{group.oldest_seconds:.1f} s", dead)
    bus = "  ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in status.bus.items())
    console.print(Group(processes, "", groups, "", bus or "[red]The bridge does not tell how the bus stands.[/]"))


def _process(
    target: Target, wrong: Mapping[str, str] | None, before: Numbers, after: Numbers, seconds: float
) -> ProcessStatus:
    def rate(*names: str) -> float:
        return max(0.0, sum(after.total(name) - before.total(name) for name in names)) / seconds

    memory = after.total("process_resident_memory_bytes") or after.total("envoy_server_memory_physical_size")
    return ProcessStatus(
        process=target.process,
        address=target.address,
        state="away" if wrong is None else "not ready" if wrong else "ready",
        wrong=wrong or {},
        memory_mb=round(memory / 1e6, 1),
        cpu_percent=round(100 * rate("process_cpu_seconds_total"), 1),
        calls_per_second=round(rate("astra_rpc_calls_total", "astra_gateway_requests_total"), 1),
    )


def _group(bus: Numbers, name: str) -> GroupStatus:
    return GroupStatus(
        group=name,
        waiting=int(bus.total("astra_bus_group_lag_entries", group=name)),
        in_hand=int(bus.total("astra_bus_group_pending_entries", group=name)),
        oldest_seconds=round(bus.most("astra_bus_group_oldest_unfinished_seconds", group=name), 1),
        dead_letters=int(bus.total("astra_bus_dead_letter_entries", group=name)),
    )


def _numbers(target: Target) -> Numbers:
    answer = _ask(target, "/metrics")
    return Numbers(text_string_to_metric_families(answer[1])) if answer and answer[0] == 200 else Numbers()


def _health(target: Target) -> Mapping[str, str] | None:
    """Returns what is wrong by its name; None for a process that does not answer."""
    answer = _ask(target, "/readyz")
    if answer is None:
        return None
    status, text = answer
    if status == 200:
        return {}
    try:
        wrong: Mapping[str, str] = json.loads(text)["wrong"]
    except (ValueError, KeyError):
        return {"readyz": f"{status} {text.strip()[:100]}"}
    return wrong


def _ask(target: Target, path: str) -> tuple[int, str] | None:
    try:
        with urllib.request.urlopen(f"http://{target.address}{path}", timeout=ANSWER_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except OSError:
        return None
