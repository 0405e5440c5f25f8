"""Benchmark of the bus: bridge and consumers against a raw pipeline and FastStream, alternating on one server.

Same machine, one Valkey with AOF everysec on the disk of the checkout, events of about 300 bytes. FastStream comes with
the dependency group `bench`, in an environment of its own (`make bench-bus`), redis-benchmark with Debian's packages
(`make packages`): one client with as many commands in flight as the bridge has in a batch, which is the bridge's own
shape, and for information as it is mostly run, 50 clients with 16 each.
"""

import csv
import shutil
import statistics
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import redis

from services.mesh import ROOT
from tests.bench.bus_latency import Latencies, mesh_latencies, our_latencies, their_latencies
from tests.bench.bus_replay import replayed
from tests.bench.processes import cpu_seconds
from tests.bench.results import Result, report
from tests.bench.sides import Side, end_all, ours, theirs
from tests.unit_bridge.valkey import Valkey

ROUNDS = 3
COUNT = 80_000
"""Below STREAM_CAP: what is published is what is consumed after."""
FASTSTREAM_COUNT = 2_000
RAW = "redis-benchmark XADD, 1 client, 256 in flight"
RAW_MANY = "redis-benchmark XADD, 50 clients, 16 in flight"
EVENT_BYTES = 300
REPLAY_GOAL = 50_000
STREAM = "astra.trading.trade_executed.v1"


class Bench:
    """One server and what is measured on it, by name: events per second and CPU microseconds per event."""

    def __init__(self, folder: Path, server: Valkey) -> None:
        self.rates: dict[str, list[float]] = defaultdict(list)
        self.cpu_us: dict[str, list[float]] = defaultdict(list)
        self._folder = folder
        self._server = server
        self._redis = redis.Redis.from_url(server.url)
        self._files = 0

    def round(self, outbox: Side, address: str) -> None:
        """Measures every side once."""
        self._raw()
        self._fresh()
        before = cpu_seconds([outbox.pid])
        self._ours("bridge", "publish", self._server.url, address, str(COUNT))
        self.cpu_us["outbox of the service"].append((cpu_seconds([outbox.pid]) - before) / COUNT * 1e6)
        # The stream that was just written is what is consumed, by a new group each time.
        self._ours("consumer, no-op", "consume", self._server.url, str(COUNT))
        self._redis.xgroup_destroy(STREAM, "bench")
        self._ours("consumer, committed", "consume", self._server.url, str(COUNT), self._file())
        for name, (per_second, cpu_us) in replayed(Path(self._file()).parent, self._server.url).items():
            self.rates[name].append(per_second)
            self.cpu_us[name].append(cpu_us)
        self._fresh()
        self._theirs("FastStream publish, 64 at once", "publish", str(FASTSTREAM_COUNT), "64")
        self._fresh()
        self._theirs("FastStream publish", "publish", str(FASTSTREAM_COUNT))
        self._theirs("FastStream consumer, no-op", "consume", str(FASTSTREAM_COUNT))
        self._redis.xgroup_destroy("faststream", "g")
        self._theirs("FastStream consumer, committed", "consume", str(FASTSTREAM_COUNT), self._file())

    def _raw(self) -> None:
        for name, clients, in_flight in ((RAW, 1, 256), (RAW_MANY, 50, 16)):
            self._fresh()
            command = (
                f"redis-benchmark -p {self._server.port} -n {COUNT} -c {clients} -P {in_flight} --csv XADD raw * e"
            )
            run = subprocess.run([*command.split(), "x" * EVENT_BYTES], capture_output=True, text=True, check=True)
            row = next(row for row in csv.reader(run.stdout.splitlines()) if row[0].startswith("XADD"))
            self.rates[name].append(float(row[1]))

    def _ours(self, name: str, *arguments: str) -> None:
        self._note(name, COUNT, ours(*arguments).last())

    def _theirs(self, name: str, command: str, *arguments: str) -> None:
        self._note(name, FASTSTREAM_COUNT, theirs(command, self._server.url, *arguments).last())

    def _note(self, name: str, count: int, measured: dict[str, Any]) -> None:
        self.rates[name].append(count / measured["seconds"])
        self.cpu_us[name].append(measured["cpu_seconds"] / count * 1e6)

    def _fresh(self) -> None:
        self._redis.flushall()

    def _file(self) -> str:
        """Returns the path of a database that is not there yet, in a folder of its own."""
        self._files += 1
        folder = self._folder / f"effects-{self._files}"
        folder.mkdir()
        return str(folder / "effects.db")


def main() -> None:
    if shutil.which("redis-benchmark") is None:
        raise SystemExit("redis-benchmark is missing: run `make packages`")
    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        (Path(work) / "valkey").mkdir()
        server = Valkey(Path(work) / "valkey", "--appendonly", "yes", "--appendfsync", "everysec")
        server.start()
        try:
            bench = Bench(Path(work), server)
            outbox = ours("outbox", str(Path(work) / "outbox" / "outbox.db"), str(COUNT))
            served = outbox.next()
            for _ in range(ROUNDS):
                bench.round(outbox, served["address"])
            outbox.stop()
            redis.Redis.from_url(server.url).flushall()
            latencies = {
                "ours": our_latencies(Path(work), server.url),
                "FastStream": their_latencies(server.url),
                "mesh": mesh_latencies(Path(work) / "mesh"),
            }
        finally:
            end_all()
            server.kill()
    report(
        "bus",
        results(bench, latencies),
        {
            "events_per_second": bench.rates,
            "cpu_us_per_event": bench.cpu_us,
            "latencies_ms": latencies,
            "event_bytes": served["event_bytes"],
        },
    )


def results(bench: Bench, latencies: dict[str, Latencies]) -> list[Result]:
    """Returns the figures, with the goals."""
    rate = {name: statistics.median(values) for name, values in bench.rates.items()}
    cpu = {name: statistics.median(values) for name, values in bench.cpu_us.items()}
    best_publish = max(rate["FastStream publish"], rate["FastStream publish, 64 at once"])
    ratios = (
        ("bridge / redis-benchmark, 1 client, 256 in flight", rate["bridge"] / rate[RAW], ">= 0.6"),
        ("bridge / redis-benchmark, 50 clients, 16 in flight", rate["bridge"] / rate[RAW_MANY], None),
        ("bridge / FastStream publish", rate["bridge"] / rate["FastStream publish"], ">= 15"),
        ("bridge / FastStream publish, 64 at once", rate["bridge"] / best_publish, None),
        ("no-op: ours / FastStream", rate["consumer, no-op"] / rate["FastStream consumer, no-op"], ">= 20"),
        (
            "committed: ours / FastStream and a transaction",
            rate["consumer, committed"] / rate["FastStream consumer, committed"],
            ">= 15",
        ),
    )
    cheaper = (
        ("CPU a publish: FastStream / bridge", cpu["FastStream publish"] / cpu["bridge"]),
        ("CPU, no-op: FastStream / ours", cpu["FastStream consumer, no-op"] / cpu["consumer, no-op"]),
        ("CPU, committed: FastStream / ours", cpu["FastStream consumer, committed"] / cpu["consumer, committed"]),
    )
    goals = {"replay, applied before": f">= {REPLAY_GOAL}"}
    p50 = statistics.median(latencies["ours"])
    their_p50 = statistics.median(latencies["FastStream"])
    mesh_p50 = statistics.median(latencies["mesh"])
    p99 = statistics.quantiles(latencies["mesh"], n=100)[98]
    return [
        *(Result(name=name, value=value, unit="events/s", goal=goals.get(name)) for name, value in rate.items()),
        *(Result(name=f"CPU: {name}", value=value, unit="µs/event") for name, value in cpu.items()),
        *(Result(name=name, value=value, unit="×", goal=goal) for name, value, goal in ratios),
        *(Result(name=name, value=value, unit="×") for name, value in cheaper),
        Result(name="commit → handler at 200/s, p50", value=p50, unit="ms", goal=f"<= {their_p50:.2f}"),
        Result(name="FastStream publish → handler at 200/s, p50", value=their_p50, unit="ms"),
        Result(name="recorded → handler at 50/s, all groups, p50", value=mesh_p50, unit="ms"),
        Result(name="recorded → handler at 50/s, all groups, p99", value=p99, unit="ms", goal="<= 25"),
    ]


if __name__ == "__main__":
    main()
