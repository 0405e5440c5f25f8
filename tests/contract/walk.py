"""Calls every public rpc by its REST route, as a user who comes to all of them, and each write twice."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from services.contracts import Rpc, rpcs
from tests.contract.deployment import Deployment
from tests.contract.rest_calls import rest_call, routes_of
from tests.flows.test_grpcurl import CALLED_ELSEWHERE, WAITS_FOR_A_REACTION, registered, requests_for
from tests.story.rest import Session

PUBLIC = {rpc.name: rpc for rpc in rpcs().values() if rpc.public}
PATIENCE_SECONDS = 15
ENDS_THE_ACCESS = {"ChangePassword", "Logout"}
"""Their callers are no longer who they were."""


@dataclass
class Walk:
    """What came of the calls, by the rpc's name."""

    requests: Mapping[str, Any] = field(default_factory=dict)
    answered: dict[str, str] = field(default_factory=dict)
    """Routes that were answered as they should be."""
    failed: dict[str, str] = field(default_factory=dict)
    repeated: dict[str, str] = field(default_factory=dict)
    """Of each write what its repeat was answered: `the same`, or how it differs."""


class Walker:
    """One user on the way through the routes."""

    def __init__(self, deployment: Deployment, http: aiohttp.ClientSession, user: Session) -> None:
        self._deployment = deployment
        self._http = http
        self._user = user
        self._chain = f"contract-{uuid.uuid4().hex}"
        self.walk = Walk()

    async def go(self) -> Walk:
        """Calls everything in the order of the requests."""
        self.walk.requests = await requests_for(self._deployment, self._user)
        for name, data in self.walk.requests.items():
            rpc = PUBLIC[name]
            if not routes_of(rpc):
                self.walk.failed[name] = f"{rpc.path} has no REST route"
                continue
            try:
                await self._call(rpc, await self._completed(name, dict(data)))
            except (AssertionError, TimeoutError, aiohttp.ClientError) as error:
                self.walk.failed[name] = repr(error)
        return self.walk

    async def _completed(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        """Fills in ids of what reactions and earlier calls have made."""
        nfts = f"/v1/users/{self._user.user_id}/nfts"
        if name == "TraceCorrelation":
            return {"correlationId": self._chain}
        if name == "GetNft":
            listed = await self._some(nfts, "nfts")
            return {"nftId": listed[0]["nftId"]}
        if name == "ListForSale":
            listed = await self._some(nfts, "nfts")
            return {**data, "nftId": next(nft["nftId"] for nft in listed if nft.get("genesisType"))}
        if name == "Unlist":
            listed = await self._some(f"/v1/listings?sellerUserId={self._user.user_id}", "listings")
            return {**data, "listingId": listed[0]["listingId"]}
        return data

    async def _some(self, path: str, name: str) -> Any:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if found := (await self._deployment.rest.get(path, session=self._user)).get(name):
                    return found
                await asyncio.sleep(0.05)

    async def _call(self, rpc: Rpc, data: dict[str, Any]) -> None:
        route = routes_of(rpc)[0]
        if "request_id" in rpc.request.DESCRIPTOR.fields_by_name:
            data["requestId"] = uuid.uuid4().hex
        token = self._token(rpc, data)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                status, first = await self._send(rpc, data, token)
                if status == 200 or rpc.name not in WAITS_FOR_A_REACTION:
                    break
                await asyncio.sleep(0.05)
        assert status == 200, f"{route}: {status} {first}"
        self.walk.answered[rpc.name] = str(route)
        if "requestId" in data and not rpc.server_streaming and rpc.name not in ENDS_THE_ACCESS:
            status, second = await self._send(rpc, data, token)
            same = (status, second) == (200, first)
            self.walk.repeated[rpc.name] = "the same" if same else f"{status} {second}, not {first}"

    def _token(self, rpc: Rpc, data: Mapping[str, Any]) -> str:
        if "OPEN" in rpc.allow:
            return ""
        for_another = data.get("userId", self._user.user_id) != self._user.user_id
        return self._deployment.admin.token if "ADMIN" in rpc.allow or for_another else self._user.token

    async def _send(self, rpc: Rpc, data: Mapping[str, Any], token: str) -> tuple[int, Any]:
        """Sends it; of a stream only the head of the answer is read."""
        call = rest_call(rpc, routes_of(rpc)[0], data)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if rpc.server_streaming:
            headers["accept"] = "text/event-stream"  # begins to answer before there is anything to tell
        if rpc.name == "AwardXp":
            headers["x-correlation-id"] = self._chain
        async with self._http.request(
            call.method, call.path, params=call.query, json=call.body, headers=headers
        ) as answer:
            if rpc.server_streaming and answer.status == 200:
                return 200, None
            return answer.status, await answer.json(content_type=None)


async def walk_by_rest(deployment: Deployment) -> Walk:
    """Walks as a new user."""
    user = await deployment.rest.login(await registered(deployment))
    url = f"http://{deployment.mesh.addresses['gateway']}"
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS)) as http:
        return await Walker(deployment, http, user).go()


def untried(walk: Walk) -> set[str]:
    """Returns public rpcs that nothing calls: neither this walk nor the tests that need a dead letter."""
    return set(PUBLIC) - set(walk.requests) - CALLED_ELSEWHERE
