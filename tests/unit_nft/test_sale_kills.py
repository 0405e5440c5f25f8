"""Processes killed between the steps of a sale, while gamification stands: the next one finishes it, once."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from astra.nft.v1.events_pb2 import MarketplaceSale, NftSold

from services.mesh import ROOT, Mesh
from services.runtime.clock import wall_clock
from services.runtime.credentials import make_credentials
from services.runtime.sagas import LEASE_MS
from tests.unit_nft.market import FakeWallets, market_at
from tests.unit_nft.wallet_peer import WalletPeer, serving_wallets

POINTS = [f"{when}-{movement}" for movement in ("debit", "sale", "creator") for when in ("before", "after")]


class KillingPeer(WalletPeer):
    """Moves shards once a request id, and kills who asks at a point: before the movement, or before its answer."""

    def __init__(self, point: str, *, forgets: bool = False) -> None:
        super().__init__()
        self.wallets = FakeWallets(bob=200)
        self.point, self.forgets = point, forgets
        self.process: asyncio.subprocess.Process | None = None

    async def move(self, rpc: str, user_id: str, shards: int, request_id: str) -> None:
        movement = "debit" if rpc == "DebitShards" else request_id.split("-")[1]
        self._reach(f"before-{movement}")
        key = f"{request_id}-{len(self.asked)}" if self.forgets else request_id
        self.wallets._apply(user_id, -shards if rpc == "DebitShards" else shards, key)
        self._reach(f"after-{movement}")

    def _reach(self, point: str) -> None:
        if point == self.point and self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.point = ""


async def sell(path: Path, peer: KillingPeer) -> None:
    """Lists alice's reward for 100 and lets processes sell it to bob until one is not killed."""
    async with serving_wallets(peer) as address:
        mesh = Mesh.at(path, free_ports=True)
        mesh = replace(mesh, addresses={**mesh.addresses, "envoy-internal": address})
        make_credentials(mesh)
        saved = str(mesh.save())
        async with market_at(path, FakeWallets(), at_ms=wall_clock()) as market:
            listing = await market.offer("alice", await market.pioneer("alice"))
        arguments, ahead_ms, code = [listing.listing_id], 0, -1
        while code != 0:
            peer.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.unit_nft.selling", saved, str(ahead_ms), *arguments, cwd=ROOT
            )
            code = await asyncio.wait_for(peer.process.wait(), 60)
            assert code in (0, -signal.SIGKILL)
            arguments, ahead_ms = [], ahead_ms + LEASE_MS


@pytest.mark.parametrize("point", POINTS)
async def test_a_sale_killed_at_any_step_is_finished_once(tmp_path: Path, point: str) -> None:
    peer = KillingPeer(point)
    await sell(tmp_path, peer)
    assert peer.point == "", "a process was killed there"
    assert peer.wallets.shards == {"bob": 100, "alice": 87 + 5}
    async with market_at(tmp_path, FakeWallets()) as market:
        assert len(await market.owned("bob")) == 1
        assert len(await market.events(NftSold)) == len(await market.events(MarketplaceSale)) == 1


async def test_without_the_request_id_the_next_process_debits_again(tmp_path: Path) -> None:
    """The control: a gamification that forgets what it did."""
    peer = KillingPeer("after-debit", forgets=True)
    await sell(tmp_path, peer)
    assert peer.wallets.shards["bob"] == 0
