"""The port to users' shards, which gamification keeps.

A movement is told by its `request_id`: with the same one again it is the same movement, and moves nothing more.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

from astra.gamification.v1 import gamification_service_pb2 as pb
from google.protobuf.message import Message

from services.nft.model_market import SHARDS
from services.runtime.errors import Unavailable
from services.runtime.money import to_money
from services.runtime.peers import PeerError, Peers

DEBIT = "/astra.gamification.v1.GamificationService/DebitShards"
CREDIT = "/astra.gamification.v1.GamificationService/CreditShards"
FINAL_CODES = frozenset({"FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND"})
"""Codes of refusals; any other leaves open what has happened."""


class Refused(Exception):
    """Gamification refuses; nothing was moved."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """As an AIP-193 reason."""


class Wallets(Protocol):
    """What is asked of users' shards. Each raises `Refused`, or `Unavailable` when the outcome is not known."""

    async def debit(self, user_id: str, shards: int, *, request_id: str, purpose: str) -> None:
        """Takes shards from a user."""

    async def credit(self, user_id: str, shards: int, *, request_id: str, purpose: str) -> None:
        """Gives shards to a user."""


class PeerWallets:
    """Asks the gamification service."""

    def __init__(self, connect: Callable[[], Peers]) -> None:
        self._connect = connect
        self._peers: Peers | None = None

    async def debit(self, user_id: str, shards: int, *, request_id: str, purpose: str) -> None:
        amount = to_money(Decimal(shards), SHARDS)
        request = pb.DebitShardsRequest(user_id=user_id, request_id=request_id, amount=amount, purpose=purpose)
        await self._move(DEBIT, request, pb.DebitShardsResponse)

    async def credit(self, user_id: str, shards: int, *, request_id: str, purpose: str) -> None:
        amount = to_money(Decimal(shards), SHARDS)
        request = pb.CreditShardsRequest(user_id=user_id, request_id=request_id, amount=amount, purpose=purpose)
        await self._move(CREDIT, request, pb.CreditShardsResponse)

    async def _move(self, path: str, request: Message, reply: type[Message]) -> None:
        if self._peers is None:
            # Not before it is needed: a process that moves no shards needs no key.
            self._peers = self._connect()
        try:
            await self._peers.call(path, request, reply)
        except PeerError as error:
            if error.code in FINAL_CODES:
                raise Refused(error.reason) from error
            raise Unavailable(f"gamification did not move shards: {error.message}", reason="PEER_FAILED") from error
