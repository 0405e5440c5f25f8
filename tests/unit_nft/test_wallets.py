"""Shards by gRPC: what gamification is asked, and what its answers mean."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from services.mesh import Mesh
from services.nft.wallets import PeerWallets, Refused
from services.runtime.credentials import make_credentials
from services.runtime.errors import Unavailable
from services.runtime.peers import Peers
from tests.unit_nft.wallet_peer import WalletPeer, serving_wallets


@dataclass
class Connected:
    peer: WalletPeer
    wallets: PeerWallets
    mesh: Mesh


@pytest.fixture
async def connected(tmp_path: Path) -> AsyncIterator[Connected]:
    mesh, peer = Mesh.at(tmp_path, free_ports=True), WalletPeer()
    make_credentials(mesh)
    async with serving_wallets(peer) as address:
        peers = Peers(replace(mesh, addresses={**mesh.addresses, "envoy-internal": address}), "nft")
        yield Connected(peer, PeerWallets(lambda: peers), mesh)
        await peers.close()


async def test_both_ways_name_user_amount_request_and_purpose(connected: Connected) -> None:
    await connected.wallets.debit("bob", 100, request_id="nft-buy-1", purpose="nft purchase")
    await connected.wallets.credit("alice", 92, request_id="nft-sale-1", purpose="nft sale")
    assert connected.peer.asked == [
        ("DebitShards", "bob", "100", "nft-buy-1", "nft purchase"),
        ("CreditShards", "alice", "92", "nft-sale-1", "nft sale"),
    ]


async def test_a_refusal_is_final_and_keeps_its_reason(connected: Connected) -> None:
    with pytest.raises(Refused) as caught:
        await connected.wallets.debit("poor", 100, request_id="r", purpose="p")
    assert caught.value.reason == "INSUFFICIENT_SHARDS"


async def test_a_failure_leaves_the_outcome_open(connected: Connected) -> None:
    connected.peer.broken = True
    with pytest.raises(Unavailable):
        await connected.wallets.debit("bob", 100, request_id="r", purpose="p")


async def test_gamification_that_is_away_leaves_the_outcome_open(connected: Connected) -> None:
    away = Peers(connected.mesh, "nft")
    with pytest.raises(Unavailable):
        await PeerWallets(lambda: away).debit("bob", 100, request_id="r", purpose="p")
    await away.close()


async def test_nothing_is_connected_before_shards_are_moved() -> None:
    def connect() -> Peers:
        raise SystemExit("no such key")

    wallets = PeerWallets(connect)
    with suppress(SystemExit):
        await wallets.debit("bob", 1, request_id="r", purpose="p")
        pytest.fail("it needs a connection to move shards")
