"""Numbers that are read when somebody asks for them: from a database, and from the files of certificates."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import structlog
from cryptography import x509
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.mesh import Mesh
from services.runtime import metrics
from services.runtime.store import Store
from services.runtime.transaction import Reader

log = structlog.get_logger()


class StoreReadings(Collector):
    """What the databases of domains tell: the same from whichever of a domain's processes is asked."""

    def __init__(self, *stores: Store) -> None:
        self._stores = stores

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield metrics.family(metrics.OUTBOX_LAST, ["stream"])
        yield metrics.family(metrics.OUTBOX_ROWS, ["stream"])
        yield metrics.family(metrics.SAGAS, ["domain", "kind"])
        yield metrics.family(metrics.TIMERS_DUE_SECONDS, ["domain"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Reads on the calling thread. A database that cannot be read has no numbers; its readiness tells."""
        families = list(self.describe())
        for store in self._stores:
            try:
                self._add(store, *families)
            except sqlite3.Error as error:
                log.warning("readings.failed", domain=store.domain, error=repr(error))
        yield from families

    def _add(
        self,
        store: Store,
        last: GaugeMetricFamily,
        rows: GaugeMetricFamily,
        sagas: GaugeMetricFamily,
        overdue: GaugeMetricFamily,
    ) -> None:
        read = store.read_now(_read)
        for stream, ordinal, purged in read["streams"]:
            last.add_metric([stream], ordinal)
            rows.add_metric([stream], ordinal - purged)
        for kind, count in read["sagas"]:
            sagas.add_metric([store.domain, kind], count)
        overdue_ms = 0 if read["due_ms"] is None else max(0, store.clock() - read["due_ms"])
        overdue.add_metric([store.domain], overdue_ms / 1000)


def _read(db: Reader) -> dict[str, Any]:
    return {
        "streams": db.all(
            "SELECT stream, outbox_stream.ordinal, ifnull(outbox_purged.ordinal, 0)"
            " FROM outbox_stream LEFT JOIN outbox_purged USING (stream)"
        ),
        "sagas": db.all("SELECT kind, count(*) FROM saga GROUP BY kind"),
        "due_ms": db.value("SELECT min(at_ms) FROM due"),
    }


class CertificateReadings(Collector):
    """When the certificates end that this process sees."""

    def __init__(self, mesh: Mesh) -> None:
        self._folder = mesh.tls_dir

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield metrics.family(metrics.EXPIRY, ["name"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        (expiry,) = self.describe()
        for path in sorted(self._folder.glob("*.pem")):
            try:
                certificate = x509.load_pem_x509_certificate(path.read_bytes())
            except (OSError, ValueError) as error:
                log.warning("certificate.unreadable", name=path.stem, error=repr(error))
                continue
            expiry.add_metric([path.stem], certificate.not_valid_after_utc.timestamp())
        yield expiry
