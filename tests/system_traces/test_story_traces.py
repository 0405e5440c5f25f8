"""The 36-event story as traces: each chain is one, from the REST call to the last effect, with nothing missing."""

import importlib
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from bridge.groups import routes
from services.local import LocalMesh
from services.mesh import HOST, SERVICES, Mesh
from tests.story.chains import STORY_3
from tests.story.play import Outcome, Stage
from tests.system_traces.collector import Collector, Seen, collecting

SPANS_SECONDS = 30.0

pytestmark = pytest.mark.long


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def running(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalMesh]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{HOST}:{collector.port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    with LocalMesh(Mesh.at(tmp_path_factory.mktemp("traced"), free_ports=True), ready_seconds=200) as running:
        yield running


def readers() -> Counter[str]:
    """Returns how many groups read each stream."""
    counted: Counter[str] = Counter()
    for service in SERVICES:
        for group in importlib.import_module(f"services.{service.name}.reactions").GROUPS:
            counted.update(routes(group, service.name).keys())
    return counted


def missing(outcome: Outcome, spans: list[Seen]) -> list[str]:
    """Tells what is not there, or not connected."""
    by_trace: dict[str, dict[str, Seen]] = {}
    for span in spans:
        by_trace.setdefault(span.trace_id, {})[span.span_id] = span
    found, groups = [], readers()
    for chain in outcome.chains:
        of_chain = [
            span for span in spans if span.attributes.get("messaging.message.conversation_id") == chain.correlation_id
        ]
        traces = {span.trace_id for span in of_chain}
        if len(traces) != 1:
            found.append(f"{chain.correlation_id}: {len(traces)} traces")
            continue
        trace = by_trace[traces.pop()]
        orphans = [span.name for span in trace.values() if span.parent_id and span.parent_id not in trace]
        roots = [(span.service, span.name) for span in trace.values() if not span.parent_id]
        if orphans:
            found.append(f"{chain.correlation_id}: orphans {orphans}")
        if roots != [("gateway", "POST /v1/users/{user_id}/trades")]:
            found.append(f"{chain.correlation_id}: begins with {roots}")
        if not {"gateway", "envoy", "bridge", *(event.stream.split(".")[1] for event in chain.observed)} <= {
            span.service for span in trace.values()
        }:
            found.append(f"{chain.correlation_id}: not all processes")
        for event in chain.observed:
            seen = Counter(span.operation for span in trace.values() if span.event_id == event.envelope.id)
            wanted = {"create": 1, "send": 1, "process": groups[event.stream]}
            if seen != wanted:
                found.append(f"{chain.correlation_id} {event.stream}: {dict(seen)}, not {wanted}")
            create = next(
                (
                    one.span_id
                    for one in trace.values()
                    if (one.event_id, one.operation) == (event.envelope.id, "create")
                ),
                "",
            )
            reactions = [
                span for span in trace.values() if (span.event_id, span.operation) == (event.envelope.id, "process")
            ]
            if any(span.links != (create,) or span.parent_id != create for span in reactions):
                found.append(f"{chain.correlation_id} {event.stream}: a reaction is not linked to its event")
    return found


async def test_each_chain_of_the_story_is_one_connected_trace(running: LocalMesh, collector: Collector) -> None:
    async with Stage(running) as stage:
        outcome = await stage.play("story-3", STORY_3)
    assert outcome.differences == []
    assert len(outcome.observed) == 36
    deadline = time.monotonic() + SPANS_SECONDS
    while missing(outcome, collector.spans) and time.monotonic() < deadline:
        time.sleep(0.5)  # noqa: ASYNC251 - the mesh and the collector run elsewhere
    assert missing(outcome, collector.spans) == []
    # The control: without any one span of a chain that others stand on, or that is of an event, it is not whole.
    traced = {span.trace_id for span in collector.spans if span.event_id == outcome.observed[0].envelope.id}
    of_chain = [span for span in collector.spans if span.trace_id in traced]
    parents = {span.parent_id for span in of_chain}
    needed = [span for span in of_chain if span.operation or span.span_id in parents]
    assert {span.service for span in needed} >= {"gateway", "envoy", "trading", "bridge", "analytics"}
    for lost in needed:
        assert missing(outcome, [span for span in collector.spans if span is not lost]), lost
