"""grpcurl, as a user has it: lists what there is and calls every rpc through Envoy, by reflection or descriptor set."""

import asyncio
import json
import uuid
from typing import Any, Protocol

import pytest

from envoy.clusters import upstream_names
from services.contracts import DESCRIPTORS, Rpc, rpcs
from services.local import LocalMesh
from services.mesh import ROOT, Mesh
from services.runtime.certificates import MEMBERS_CA, certificate_path, member_path, server_name
from services.runtime.credentials import ServiceToken
from tests.flows.clans import clan_requests
from tests.story.play import Stage
from tests.story.rest import PASSWORD, Scene, Session

pytestmark = pytest.mark.asyncio(loop_scope="session")

GRPCURL = ROOT / ".tools" / "bin" / "grpcurl"
USD = {"currencyCode": "USD", "amount": "100"}
LARGE = {"currencyCode": "USD", "amount": "5001"}
"""A trade of it unlocks an achievement, whose shards pay for an NFT."""
SHARDS = {"currencyCode": "SHARDS", "amount": "10"}
WAITS_FOR_A_REACTION = {"GetRank", "TraceCorrelation", "CancelSubscription", "MintNft", "BuyNft"}
WATCH_SECONDS = 1
"""How long a stream is watched; that it goes on until then is its success."""
CARD = {"number": "4242424242424242", "expireMonth": 12, "expireYear": 2090, "cvc": "123"}
PUBLIC = {rpc.path: rpc for rpc in rpcs().values() if rpc.public}
CALLED_ELSEWHERE = {"GetDeadLetter", "RetryDeadLetter", "DropDeadLetter"}
"""Rpcs that need a dead letter: `test_operator.py` calls them."""


REFLECTION: tuple[str, ...] = ()
PROTOSET = ("-protoset", str(DESCRIPTORS))
"""How grpcurl knows the rpcs: it asks the server, or it reads what `make gen` has made."""


class Running(Protocol):
    """A mesh, wherever it runs."""

    @property
    def mesh(self) -> Mesh: ...


async def grpcurl(
    running: Running,
    *arguments: str,
    token: str = "",
    data: object = None,
    chain: str = "",
    seconds: int = 10,
    known_by: tuple[str, ...] = REFLECTION,
    internal_as: str = "",
) -> tuple[int, str, str]:
    """Runs grpcurl on the public listener; returns exit code, standard output and standard error.

    With `internal_as` it calls a service by its authority on the internal listener, as the operator.
    """
    mesh = running.mesh
    options = [*known_by, "-max-time", str(seconds)]
    if internal_as:
        own, authority = str(member_path(mesh, "operator")), str(certificate_path(mesh, MEMBERS_CA))
        options += ["-cacert", authority, "-cert", own, "-key", own, "-authority", server_name(internal_as)]
    else:
        options.append("-plaintext")
    if token:
        options += ["-H", f"authorization: Bearer {token}"]
    if chain:
        options += ["-H", f"x-correlation-id: {chain}"]
    if data is not None:
        options += ["-d", json.dumps(data)]
    process = await asyncio.create_subprocess_exec(
        GRPCURL,
        *options,
        mesh.addresses["envoy-internal" if internal_as else "envoy-public"],
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


KNOWN_BY = pytest.mark.parametrize(
    "known_by", [REFLECTION, pytest.param(PROTOSET, marks=pytest.mark.long)], ids=["reflection", "protoset"]
)


@KNOWN_BY
async def test_it_lists_every_service_through_one_listener(running: LocalMesh, known_by: tuple[str, ...]) -> None:
    code, out, err = await grpcurl(running, "list", known_by=known_by)
    assert code == 0, err
    assert {rpc.service for rpc in PUBLIC.values()} <= set(out.split())
    code, out, err = await grpcurl(
        running, "describe", "astra.trading.v1.TradingService.ExecuteTrade", known_by=known_by
    )
    assert code == 0, err
    assert "astra.trading.v1.ExecuteTradeRequest" in out


INTERNAL = [rpc for rpc in rpcs().values() if not rpc.public]


@pytest.mark.long
@pytest.mark.parametrize("rpc", INTERNAL, ids=[rpc.path for rpc in INTERNAL])
async def test_it_calls_the_rpcs_between_services_on_the_internal_listener(running: LocalMesh, rpc: Rpc) -> None:
    """With an empty request: what the service says of it, if anything, is about the request."""
    service = rpc.domain if rpc.domain in upstream_names() else "trading"
    token = ServiceToken(running.mesh.keys_dir, "operator").bearer()
    method, seconds = rpc.path[1:], WATCH_SECONDS if rpc.server_streaming else 10
    for known_by in (REFLECTION, PROTOSET):
        code, out, err = await grpcurl(
            running, method, token=token, data={}, seconds=seconds, known_by=known_by, internal_as=service
        )
        watched = rpc.server_streaming and ("DeadlineExceeded" in err or "RST_STREAM" in err)
        assert code == 0 or watched or "InvalidArgument" in err or "NotFound" in err, err or out


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(CALLED_ELSEWHERE))
async def test_it_asks_for_a_dead_letter_that_is_not_there(running: LocalMesh, stage: Stage, name: str) -> None:
    rpc = next(rpc for rpc in PUBLIC.values() if rpc.name == name)
    data = {"group": "revenue_trackers", "stream": "astra.trading.trade_executed.v1", "id": "1-1"}
    for known_by in (REFLECTION, PROTOSET):
        code, _, err = await grpcurl(running, rpc.path[1:], token=stage.admin.token, data=data, known_by=known_by)
        assert code, err
        assert "NotFound" in err


async def requests_for(stage: Scene, user: Session) -> dict[str, dict[str, Any]]:
    """Returns a request that succeeds for every public rpc, by its name."""
    other = await stage.rest.register(f"o{uuid.uuid4().hex[:12]}")
    me, trades = {"userId": user.user_id}, f"/v1/users/{user.user_id}/trades"
    trade = {**me, "symbol": "STRK", "amount": USD, "direction": "DIRECTION_LONG"}
    large = {"symbol": "STRK", "direction": "DIRECTION_LONG", "amount": LARGE}
    first = await stage.rest.post(trades, large, session=user)
    open_trade = {**me, "tradeId": first["tradeId"]}
    deposit = {**me, "amount": USD, "card": CARD}
    paid = await stage.rest.post(
        f"/v1/users/{user.user_id}/account:deposit", {"amount": USD, "card": CARD}, session=user
    )
    name = f"u{uuid.uuid4().hex[:12]}"
    return {
        "ExecuteTrade": trade,
        "GetTrade": open_trade,
        "CloseTrade": open_trade,
        "ListTrades": me,
        "WatchTrades": me,
        "GetPortfolio": me,
        "AssessRisk": {**me, "symbol": "STRK", "amount": USD},
        "GetPerformance": me,
        "GrantPracticeFunds": {**me, "amount": USD},
        "ListMarkets": {},
        "GetQuote": {"symbol": "BTC"},
        "AwardXp": {**me, "xp": "1500"},
        "GetProgression": me,
        "GetLeaderboard": {"board": "BOARD_ALL_TIME"},
        "GetRank": {"board": "BOARD_ALL_TIME", **me},
        "WatchLeaderboard": {"board": "BOARD_ALL_TIME"},
        "ListAchievements": me,
        "CheckIn": me,
        "GetShards": me,
        "Interact": {**me, "targetUserId": "somebody", "kind": "INTERACTION_KIND_LIKE"},
        "GetSocialProfile": me,
        "WatchFeed": {},
        **await clan_requests(stage, user),
        "ListFeed": me,
        "GetAccount": me,
        "Deposit": deposit,
        "Withdraw": {**me, "amount": USD},
        "CreatePayment": {**deposit, "purpose": "PAYMENT_PURPOSE_DEPOSIT"},
        "RefundPayment": {**me, "paymentId": paid["paymentId"]},
        "ListTransactions": me,
        "Subscribe": {**me, "tier": "SUBSCRIPTION_TIER_PRO", "card": CARD},
        "GetSubscription": me,
        "CancelSubscription": me,
        "VerifyKyc": me,
        "GetRevenue": {},
        "ListUserNfts": me,
        "MintNft": {**me, "genesisType": "first_trade"},
        "ListEligibleAchievements": me,
        "ListListings": {},
        "ListForSale": {**me, "price": SHARDS},
        "Unlist": me,
        "BuyNft": {**me, "listingId": await listing_of_another(stage)},
        "GetNft": {},
        "RegisterUser": {"username": name, "email": f"{name}@example.com", "password": PASSWORD},
        "Login": {"username": name, "password": PASSWORD},
        "GetUser": me,
        "UpdateProfile": {**me, "user": {"displayName": "Renamed"}, "updateMask": {"paths": ["display_name"]}},
        "ListNotifications": me,
        "WatchNotifications": me,
        "RefreshSession": {"refreshToken": user.refresh_token},
        "Logout": {"refreshToken": user.refresh_token},
        "VerifyUser": {**me, "tier": "VERIFICATION_TIER_IDENTITY"},
        "SuspendUser": {"userId": other},
        "ReactivateUser": {"userId": other},
        "TraceCorrelation": {"correlationId": chain_of(user)},
        "ListAuditEntries": {},
        "VerifyAuditTrail": {},
        "GetKpis": {},
        "GetBusStatus": {},
        "WatchEvents": {},
        "ListDeadLetters": {},
        "ListBusActions": {},
        "ReplayEvents": {"group": "revenue_trackers"},
        # Last of all: it ends the access that the others need.
        "ChangePassword": {**me, "currentPassword": PASSWORD, "newPassword": f"{PASSWORD}-2"},
    }


def chain_of(user: Session) -> str:
    """Returns the correlation id of what the user's award sets off: only its own user may trace it."""
    return f"award-{user.user_id}"


async def listing_of_another(stage: Scene) -> str:
    """Returns the listing of an NFT that another user has traded for, minted and put up for sale."""
    seller = await stage.rest.login(await registered(stage))
    user = f"/v1/users/{seller.user_id}"
    trade = {"symbol": "STRK", "direction": "DIRECTION_LONG", "amount": USD}
    await stage.rest.post(f"{user}/trades", trade, session=seller)
    nft = await minted(stage, seller)
    listing = await stage.rest.post(f"{user}/nfts/{nft['nftId']}:list", {"price": SHARDS}, session=seller)
    return str(listing["listingId"])


async def minted(stage: Scene, trader: Session) -> Any:
    """Returns the Genesis NFT of a user who has traded."""
    user = f"/v1/users/{trader.user_id}"
    async with asyncio.timeout(10):
        while True:
            achievements = (await stage.rest.get(f"{user}/eligible-achievements", session=trader))["achievements"]
            if any(each.get("eligible") for each in achievements):
                break
            await asyncio.sleep(0.05)
    return await stage.rest.post(f"{user}/nfts:mint", {"genesisType": "first_trade"}, session=trader)


async def registered(stage: Scene) -> str:
    """Registers a user and returns its name."""
    username = f"g{uuid.uuid4().hex[:12]}"
    await stage.rest.register(username)
    return username


class Grpcurl:
    """Asks by grpcurl."""

    def __init__(self, running: Running, known_by: tuple[str, ...]) -> None:
        self._running = running
        self._known_by = known_by

    async def __call__(self, rpc: Rpc, data: object, *, token: str, chain: str, seconds: int) -> tuple[Any, str]:
        method = rpc.path[1:]
        code, out, err = await grpcurl(
            self._running, method, token=token, data=data, chain=chain, seconds=seconds, known_by=self._known_by
        )
        # At the deadline either end may be first: the client that gives up, or the service that resets the stream.
        watched = rpc.server_streaming and ("DeadlineExceeded" in err or "RST_STREAM" in err)
        if code and not watched:
            return None, err or out
        return None if rpc.server_streaming else json.loads(out), ""


@pytest.mark.long
async def test_it_calls_every_public_rpc_by_its_descriptor_set(running: LocalMesh, stage: Stage) -> None:
    """By reflection the contracts do."""
    assert not await failures_of(Grpcurl(running, PROTOSET), stage)


async def call_every_public_rpc(running: Running, stage: Scene) -> dict[str, str]:
    """Calls each as it should succeed; returns what grpcurl says of those that fail, by name. The contracts run it."""
    return await failures_of(Grpcurl(running, REFLECTION), stage)


class Ask(Protocol):
    """Calls an rpc; returns its answer (None of a stream) and what went wrong, if anything."""

    async def __call__(self, rpc: Rpc, data: object, *, token: str, chain: str, seconds: int) -> tuple[Any, str]: ...


async def failures_of(ask: Ask, stage: Scene) -> dict[str, str]:
    """Calls every public rpc with a request that should succeed; returns what went wrong, by the rpc's name."""
    user = await stage.rest.login(await registered(stage))
    requests = await requests_for(stage, user)
    assert set(requests) == {rpc.name for rpc in PUBLIC.values()} - CALLED_ELSEWHERE
    failed: dict[str, str] = {}
    for name, data in requests.items():
        rpc = next(rpc for rpc in PUBLIC.values() if rpc.name == name)
        acts_for_another = data.get("userId", user.user_id) != user.user_id
        as_admin = "ADMIN" in rpc.allow or acts_for_another
        token = "" if "OPEN" in rpc.allow else stage.admin.token if as_admin else user.token
        if name == "GetNft":  # what the level-up by AwardXp brought
            listed = await eventually(ask, "ListUserNfts", requests["ListUserNfts"], user.token)
            data = {"nftId": listed["nfts"][0]["nftId"]}
        if name == "ListForSale":  # what was just minted
            listed = await eventually(ask, "ListUserNfts", requests["ListUserNfts"], user.token)
            data["nftId"] = next(nft["nftId"] for nft in listed["nfts"] if nft.get("genesisType"))
        if name == "Unlist":
            listed = await eventually(ask, "ListListings", {"sellerUserId": user.user_id}, user.token)
            data = {**data, "listingId": listed["listings"][0]["listingId"]}
        if name in WAITS_FOR_A_REACTION:
            await eventually(ask, name, data, user.token)
            continue
        chain = chain_of(user) if name == "AwardXp" else ""
        seconds = WATCH_SECONDS if rpc.server_streaming else 10
        _, wrong = await ask(rpc, data, token=token, chain=chain, seconds=seconds)
        if wrong:
            failed[name] = wrong
    return failed


async def eventually(ask: Ask, name: str, data: object, token: str) -> Any:
    """Repeats a read until it answers with something; fails after 10 seconds."""
    rpc = next(rpc for rpc in PUBLIC.values() if rpc.name == name)
    async with asyncio.timeout(10):
        while True:
            answer, wrong = await ask(rpc, data, token=token, chain="", seconds=10)
            if answer and not wrong:
                return answer
            await asyncio.sleep(0.05)
