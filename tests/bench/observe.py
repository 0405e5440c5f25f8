"""`make bench-observe`: the CPU that counting and tracing add to a request by REST, half of them writes.

One process serves; its sides alternate in it, and its CPU seconds are compared, so that neither the client nor other
programs of this machine count. Without Envoy's part of a request the shares come out larger than they are in a mesh.
"""

import asyncio
import os
import statistics
import sys
from unittest import mock

import aiohttp

from tests.bench.observe_side import MODES
from tests.bench.results import Result, report
from tests.bench.sides import Side, end_all
from tests.system_traces.collector import collecting

ROUNDS = 50
REQUESTS = 200
CALLERS = 16
SAMPLED = "0.1"


async def requests(session: aiohttp.ClientSession, count: int) -> None:
    """Makes requests, a few at a time."""
    left = iter(range(count))

    async def caller() -> None:
        for number in left:
            if number % 2:
                body = {"amount": {"currencyCode": "USD", "amount": "1"}}
                path = "/v1/users/bench/portfolio:grantPracticeFunds"
                async with session.post(path, json=body) as answer:
                    assert answer.status == 200, await answer.text()
            else:
                async with session.get("/v1/markets/STRK/quote") as answer:
                    assert answer.status == 200, await answer.text()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def measure(side: Side) -> dict[str, list[float]]:
    """Returns CPU microseconds a request, by mode, one figure a round."""
    found: dict[str, list[float]] = {mode: [] for mode in (*MODES, "off again")}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{side.next()['port']}") as session:
        await requests(session, REQUESTS)
        for number in range(ROUNDS):
            order = list(found) if number % 2 else list(reversed(found))
            for mode in order:
                before = _switch(side, mode.split()[0])
                await requests(session, REQUESTS)
                found[mode].append((_switch(side, mode.split()[0]) - before) / REQUESTS * 1e6)
    return found


def _switch(side: Side, mode: str) -> float:
    side.say(mode)
    return float(side.next()["cpu_seconds"])


def main() -> None:
    with collecting() as collector:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": SAMPLED,
        }
        with mock.patch.dict(os.environ, environment):
            side = Side(sys.executable, "-m", "tests.bench.observe_side")
        try:
            found = asyncio.run(measure(side))
        finally:
            end_all()
    middle = {mode: statistics.median(values) for mode, values in found.items()}

    def share(mode: str, than: str) -> float:
        """Of rounds beside each other, so that a slow stretch of the machine hits both."""
        pairs = zip(found[mode], found[than], strict=True)
        return 100 * statistics.median(one / other - 1 for one, other in pairs)

    report(
        "observe",
        [
            Result(name="CPU of a request, nothing counted", value=middle["off"], unit="µs"),
            Result(name="metrics add", value=share("metrics", "off"), unit="%", goal="<= 3"),
            Result(name="traces of a tenth add to that", value=share("traces", "metrics"), unit="%", goal="<= 5"),
            Result(name="off differs from itself by", value=abs(share("off again", "off")), unit="%"),
            Result(name="spans that arrived", value=len(collector.spans), unit="", goal=">= 1"),
        ],
        found,
    )


if __name__ == "__main__":
    main()
