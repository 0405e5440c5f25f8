"""When traces are on, and what a span passes on."""

import subprocess
import sys

import pytest

from envoy import tracing as of_envoy
from services.mesh import ROOT
from services.telemetry import spans, tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.is_wanted(environment) == wanted
    assert bool(of_envoy.of_listener(environment)) == wanted
    assert bool(of_envoy.clusters(environment)) == wanted


def test_off_the_context_is_passed_on_as_it_came() -> None:
    assert not tracing.on()
    for span in (spans.served("/a.B/C", PARENT), spans.created("s", PARENT), spans.processed("g", "s", PARENT)):
        assert span.traceparent == PARENT
        span.end()


def test_off_nothing_that_makes_or_sends_spans_is_imported() -> None:
    """What redis-py takes of OpenTelemetry for itself is its own affair."""
    program = (
        "import sys, services.process, bridge.process, gateway.__main__\n"
        "from services.telemetry import tracing\n"
        "with tracing.exported('a', 'b'): pass\n"
        "of_spans = ('opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "print(sorted(name for name in sys.modules if name.startswith(of_spans)))"
    )
    environment = {"PATH": "/usr/bin:/bin"}
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]", ended.stderr


def test_a_protocol_that_is_not_spoken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    with pytest.raises(SystemExit, match="OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), tracing.exported("nft", "nft"):
        pass


@pytest.mark.parametrize(
    ("sampler", "percent"),
    [
        ({}, 100.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, 10.0),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0.0),
    ],
)
def test_envoy_begins_as_many_traces_as_the_processes(sampler: dict[str, str], percent: float) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", **sampler}
    assert of_envoy.of_listener(environment)["tracing"]["random_sampling"]["value"] == percent
