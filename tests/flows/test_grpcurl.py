"""grpcurl, as a user has it: lists the services and calls every public rpc through the one public listener."""

import asyncio
import json
import uuid
from typing import Any, Protocol

import pytest

from services.contracts import rpcs
from services.local import LocalMesh
from services.mesh import ROOT, Mesh
from tests.flows.clans import clan_requests
from tests.story.rest import PASSWORD, Scene, Session

pytestmark = pytest.mark.asyncio(loop_scope="session")

GRPCURL = ROOT / ".tools" / "bin" / "grpcurl"
USD = {"currencyCode": "USD", "amount": "100"}
LARGE = {"currencyCode": "USD", "amount": "5001"}
"""A trade of it unlocks an achievement, whose shards pay for an NFT."""
SHARDS = {"currencyCode": "SHARDS", "amount": "10"}
WAITS_FOR_A_REACTION = {"GetRank", "TraceCorrelation", "CancelSubscription", "MintNft", "BuyNft"}
WATCH_SECONDS = 3
"""How long a stream is watched; that it goes on until then is its success."""
CARD = {"number": "4242424242424242", "expireMonth": 12, "expireYear": 2090, "cvc": "123"}
PUBLIC = {rpc.path: rpc for rpc in rpcs().values() if rpc.public}
CALLED_ELSEWHERE = {"GetDeadLetter", "RetryDeadLetter", "DropDeadLetter"}
"""Rpcs that need a dead letter: `test_operator.py` calls them."""


class Running(Protocol):
    """A mesh, wherever it runs."""

    @property
    def mesh(self) -> Mesh: ...


async def grpcurl(
    running: Running, *arguments: str, token: str = "", data: object = None, chain: str = "", seconds: int = 10
) -> tuple[int, str, str]:
    """Runs grpcurl on the public listener; returns exit code, standard output and standard error."""
    options = ["-plaintext", "-max-time", str(seconds)]
    if token:
        options += ["-H", f"authorization: Bearer {token}"]
    if chain:
        options += ["-H", f"x-correlation-id: {chain}"]
    if data is not None:
        options += ["-d", json.dumps(data)]
    process = await asyncio.create_subprocess_exec(
        GRPCURL,
        *options,
        running.mesh.addresses["envoy-public"],
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_it_lists_every_service_through_one_listener(running: LocalMesh) -> None:
    code, out, err = await grpcurl(running, "list")
    assert code == 0, err
    assert {rpc.service for rpc in PUBLIC.values()} <= set(out.split())
    code, out, err = await grpcurl(running, "describe", "astra.trading.v1.TradingService.ExecuteTrade")
    assert code == 0, err
    assert "astra.trading.v1.ExecuteTradeRequest" in out


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
        "TraceCorrelation": {"correlationId": "grpcurl-chain"},
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


async def call_every_public_rpc(running: Running, stage: Scene) -> dict[str, str]:
    """Calls each as it should succeed; returns what grpcurl says of those that fail, by name. The contracts run it."""
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
            listed = await eventually(running, "ListUserNfts", requests["ListUserNfts"], user.token)
            data = {"nftId": listed["nfts"][0]["nftId"]}
        if name == "ListForSale":  # what was just minted
            listed = await eventually(running, "ListUserNfts", requests["ListUserNfts"], user.token)
            data["nftId"] = next(nft["nftId"] for nft in listed["nfts"] if nft.get("genesisType"))
        if name == "Unlist":
            listed = await eventually(running, "ListListings", {"sellerUserId": user.user_id}, user.token)
            data = {**data, "listingId": listed["listings"][0]["listingId"]}
        if name in WAITS_FOR_A_REACTION:
            await eventually(running, name, data, user.token)
            continue
        method = rpc.path[1:]
        chain = "grpcurl-chain" if name == "AwardXp" else ""
        seconds = WATCH_SECONDS if rpc.server_streaming else 10
        code, out, err = await grpcurl(running, method, token=token, data=data, chain=chain, seconds=seconds)
        # At the deadline either end may be first: the client that gives up, or the service that resets the stream.
        watched = rpc.server_streaming and ("DeadlineExceeded" in err or "RST_STREAM" in err)
        if code and not watched:
            failed[name] = err or out
    return failed


async def eventually(running: Running, name: str, data: object, token: str) -> Any:
    """Repeats a read until it answers with something; fails after 10 seconds."""
    path = next(rpc.path for rpc in PUBLIC.values() if rpc.name == name)
    async with asyncio.timeout(10):
        while True:
            code, out, _ = await grpcurl(running, path[1:], token=token, data=data)
            if code == 0 and (answer := json.loads(out)):
                return answer
            await asyncio.sleep(0.05)
