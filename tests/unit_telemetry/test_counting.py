"""What is counted of calls, commits, requests and certificates."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.registry import Collector

from gateway.metrics import Counts
from services import contracts
from services.mesh import Mesh
from services.runtime.certificates import make_certificates
from services.runtime.checks import store_writes
from services.runtime.errors import NotFound
from services.runtime.metrics import CallTimer
from services.runtime.readings import CertificateReadings, StoreReadings
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.conftest import OpenStore


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def read(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def test_calls_are_counted_by_rpc_and_status() -> None:
    rpc = contracts.rpcs()["/astra.nft.v1.NftService/GetNft"]
    labels = {"rpc_service": "astra.nft.v1.NftService", "rpc_method": "GetNft"}
    before = value("astra_rpc_calls_total", **labels, code="NOT_FOUND")
    timer = CallTimer(rpc)
    timer.ended("NOT_FOUND", 0.0)
    timer.ended("NOT_FOUND", 0.0)
    assert value("astra_rpc_calls_total", **labels, code="NOT_FOUND") == before + 2
    assert value("astra_rpc_duration_seconds_count", **labels) >= 2


def test_requests_without_a_route_share_one_label() -> None:
    counts = Counts()
    before = value("astra_gateway_requests_total", route="other", status="404")
    for _ in range(3):
        counts.ended(None, 404, 0.0)
    assert value("astra_gateway_requests_total", route="other", status="404") == before + 3


async def test_commits_are_counted_with_the_commands_that_share_them(open_store: OpenStore) -> None:
    store = open_store("social")
    before = value("astra_store_commit_works_sum", domain="social")

    def refused(tx: Tx) -> None:
        raise NotFound("not there", reason="NOT_THERE")

    await store.write(lambda tx: None)
    with pytest.raises(NotFound):
        await store.write(refused)
    assert value("astra_store_commit_works_sum", domain="social") == before + 2
    assert value("astra_store_commits_total", domain="social") >= 2


async def test_the_outbox_tells_its_end_and_what_it_holds(open_store: OpenStore) -> None:
    store = open_store("nft")

    def fill(tx: Tx) -> None:
        tx.execute("INSERT INTO outbox_stream VALUES ('astra.nft.nft_sold.v1', 7, 1)")
        tx.execute("INSERT INTO outbox_purged VALUES ('astra.nft.nft_sold.v1', 2, 1)")
        tx.execute("INSERT INTO due VALUES ('listing', 'a', ?)", tx.now_ms - 4_000)

    await store.write(fill)
    registry = read(StoreReadings(store))
    stream = {"stream": "astra.nft.nft_sold.v1"}
    assert registry.get_sample_value("astra_outbox_last_ordinal", stream) == 7
    assert registry.get_sample_value("astra_outbox_rows", stream) == 5
    assert (registry.get_sample_value("astra_timer_overdue_seconds", {"domain": "nft"}) or 0) >= 4


async def test_a_store_that_refuses_writes_is_not_ready(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Store = open_store("user")
    check = store_writes(store)
    assert await check() == ""
    await store.close()
    assert "stopping" in await check()


def test_certificates_tell_when_they_end(tmp_path: Path) -> None:
    mesh = Mesh.at(tmp_path)
    make_certificates(mesh)
    (mesh.tls_dir / "broken.pem").write_text("no certificate")
    registry = read(CertificateReadings(mesh))
    ends: list[Any] = [sample for family in registry.collect() for sample in family.samples]
    assert {"trading", "envoy", "services-ca"} <= {sample.labels["name"] for sample in ends}
    assert "broken" not in {sample.labels["name"] for sample in ends}
