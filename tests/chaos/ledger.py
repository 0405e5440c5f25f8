"""What groups did, noted in the transaction of each effect; and the events that fail, so that dead letters come about.

The ledger has no unique key: an effect that happens twice is there twice.
"""

import random
from collections.abc import Sequence
from typing import Any

import services.process
from bridge.group_runner import run_group
from bridge.groups import Group, Reaction, routes
from bridge.settings import Settings
from services.runtime.delivery import Delivery
from services.runtime.errors import Unavailable
from services.runtime.inbox import Effect
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.chaos.points import Point, patch

SCHEMA = """
CREATE TABLE IF NOT EXISTS chaos_effect (consumer_group TEXT, stream TEXT, ordinal INTEGER, event_id TEXT);
CREATE TABLE IF NOT EXISTS chaos_reads (consumer_group TEXT, stream TEXT, UNIQUE (consumer_group, stream));
"""
SETTINGS = Settings(
    block_ms=200, idle_ms=1_500, claim_every_seconds=0.5, retry_first_seconds=0.02, retry_cap_seconds=0.2
)
"""As in the product, in quicker time."""
POISON_EVERY = 41
TRANSIENT_SHARE = 0.005


def is_poison(ordinal: int) -> bool:
    """Tells whether the reaction to this entry always fails, in every group."""
    return ordinal % POISON_EVERY == 7


def install(point: Point) -> None:
    """Makes the stores of this process keep the ledger, and its groups quick."""
    init, react_all = Store.__init__, Store.react_all

    def with_ledger(self: Store, *args: Any, schema: str = "", **options: Any) -> None:
        init(self, *args, schema=schema + SCHEMA, **options)

    def noting(group: str, delivery: Delivery, apply: Reaction) -> Reaction:
        def effect(tx: Tx, event: Any) -> None:
            if is_poison(delivery.ordinal):
                raise ValueError("poison")
            if random.random() < TRANSIENT_SHARE:
                raise Unavailable("a call that failed for now", reason="CHAOS")
            apply(tx, event)
            row = (group, delivery.stream, delivery.ordinal, delivery.envelope.id)
            tx.execute("INSERT INTO chaos_effect VALUES (?, ?, ?, ?)", *row)
            point.reach("before effect commit")

        return effect

    async def noting_all(self: Store, group: str, given: Sequence[tuple[Delivery, Reaction]]) -> list[Effect]:
        effects = await react_all(
            self, group, [(delivery, noting(group, delivery, apply)) for delivery, apply in given]
        )
        point.reach("after effect commit")
        return effects

    async def run_quickly(group: Group, *, store: Store, **options: Any) -> None:
        def note_reads(tx: Tx) -> None:
            for stream in routes(group, store.domain):
                tx.execute("INSERT OR IGNORE INTO chaos_reads VALUES (?, ?)", group.name, stream)

        await store.write(note_reads)
        await run_group(group, store=store, **options, settings=SETTINGS)

    patch(Store, __init__=with_ledger, react_all=noting_all)
    patch(services.process, run_group=run_quickly)
