"""A suspension and a new password end all access within two seconds, through the real gateway, Envoy and bus."""

import asyncio
import time
import uuid
from typing import Any

import grpc
import pytest
from astra.social.v1.social_service_pb2 import WatchFeedRequest
from astra.social.v1.social_service_pb2_grpc import SocialServiceStub
from astra.trading.v1.trading_service_pb2 import WatchTradesRequest
from astra.trading.v1.trading_service_pb2_grpc import TradingServiceStub
from astra.user.v1.user_service_pb2 import WatchNotificationsRequest
from astra.user.v1.user_service_pb2_grpc import UserServiceStub

from tests.serving import reason_of
from tests.story.play import Stage
from tests.story.rest import PASSWORD, Refused, Session

pytestmark = pytest.mark.asyncio(loop_scope="session")

WITHIN_SECONDS = 2.0
READS = (
    "/v1/users/{user_id}/portfolio",
    "/v1/users/{user_id}/progression",
    "/v1/users/{user_id}/socialProfile",
    "/v1/users/{user_id}/account",
    "/v1/users/{user_id}/nfts",
    "/v1/users/{user_id}",
    "/v1/correlations/somebody-elses",
)
"""A read of each domain. The last finds nothing, for who may ask."""


async def newcomer(stage: Stage) -> Session:
    name = f"x{uuid.uuid4().hex[:12]}"
    await stage.rest.register(name)
    return await stage.rest.login(name)


async def answer_to(stage: Stage, path: str, session: Session) -> str:
    """Returns what a read comes to: `ok`, or the reason of the refusal."""
    try:
        await stage.rest.get(path.format(user_id=session.user_id), session=session)
    except Refused as error:
        details: list[dict[str, Any]] = error.body.get("error", error.body).get("details", [])
        return next((detail["reason"] for detail in details if "reason" in detail), str(error.status))
    return "ok"


async def answers(stage: Stage, session: Session) -> set[str]:
    return set(await asyncio.gather(*(answer_to(stage, path, session) for path in READS)))


async def revoked_everywhere(stage: Stage, session: Session) -> float:
    """Waits until every domain refuses the token; returns after how many seconds they were asked that all did."""
    began = time.monotonic()
    while True:
        asked = time.monotonic() - began
        if await answers(stage, session) == {"TOKEN_REVOKED"}:
            print(f"access had ended everywhere after {1000 * asked:.0f} ms")
            return asked
        assert asked < 5 * WITHIN_SECONDS


async def test_a_suspension_ends_all_access_within_two_seconds_and_a_restart_forgets_nothing(stage: Stage) -> None:
    session, other = await newcomer(stage), await newcomer(stage)
    assert await answers(stage, session) == {"ok", "CORRELATION_NOT_FOUND"}
    await stage.rest.post(f"/v1/users/{session.user_id}:suspend", {"reason": "a test"}, session=stage.admin)
    assert await revoked_everywhere(stage, session) < WITHIN_SECONDS
    assert await answers(stage, other) == {"ok", "CORRELATION_NOT_FOUND"}
    for name in ("trading-serve", "analytics"):
        pid = stage.running.kill(name)
        await asyncio.to_thread(stage.running.wait_ready, name, not_pid=pid)
    assert await answers(stage, session) == {"TOKEN_REVOKED"}
    await stage.rest.post(f"/v1/users/{session.user_id}:reactivate", {}, session=stage.admin)
    assert await answers(stage, session) == {"TOKEN_REVOKED"}


async def test_a_new_password_ends_the_old_token_and_not_the_one_that_follows(stage: Stage) -> None:
    session = await newcomer(stage)
    user = await stage.rest.get(f"/v1/users/{session.user_id}", session=session)
    await stage.rest.post(
        f"/v1/users/{session.user_id}:changePassword",
        {"currentPassword": PASSWORD, "newPassword": "quite another one"},
        session=session,
    )
    fresh = await stage.rest.login(user["username"], "quite another one")
    assert await revoked_everywhere(stage, session) < WITHIN_SECONDS
    assert await answers(stage, fresh) == {"ok", "CORRELATION_NOT_FOUND"}


async def test_a_stream_shows_news_live_and_falls_silent_when_access_ends(stage: Stage) -> None:
    session = await newcomer(stage)
    async with grpc.aio.insecure_channel(stage.running.mesh.addresses["envoy-public"]) as channel:
        stub: Any = UserServiceStub(channel)
        live = stub.WatchNotifications(
            WatchNotificationsRequest(), metadata=(("authorization", f"Bearer {session.token}"),)
        )
        await live.initial_metadata()
        began = time.monotonic()
        await stage.rest.award_xp(stage.admin, session.user_id, 1500, correlation_id="news")
        titles = {(await asyncio.wait_for(live.read(), 10)).notification.title for _ in range(2)}
        print(f"a level-up was shown {1000 * (time.monotonic() - began):.0f} ms after the command was sent")
        assert titles == {"You reached level 2", "You were given Level 2 Pioneer"}
        await stage.rest.post(f"/v1/users/{session.user_id}:suspend", {}, session=stage.admin)
        await revoked_everywhere(stage, session)
        await stage.rest.award_xp(stage.admin, session.user_id, 1000, correlation_id="more-news")
        assert await titles_until_refused(live) <= {"Your account is suspended"}


async def test_streams_with_nothing_to_show_are_cut_when_access_ends(stage: Stage) -> None:
    session = await newcomer(stage)
    metadata = (("authorization", f"Bearer {session.token}"),)
    async with grpc.aio.insecure_channel(stage.running.mesh.addresses["envoy-public"]) as channel:
        trading: Any = TradingServiceStub(channel)
        social: Any = SocialServiceStub(channel)
        streams = [
            trading.WatchTrades(WatchTradesRequest(), metadata=metadata),
            social.WatchFeed(WatchFeedRequest(user_id=session.user_id), metadata=metadata),
        ]
        for live in streams:
            await live.initial_metadata()
        ends = asyncio.gather(*(reason_of_its_end(live) for live in streams))
        await stage.rest.post(f"/v1/users/{session.user_id}:suspend", {}, session=stage.admin)
        began = time.monotonic()
        assert await asyncio.wait_for(ends, 10) == ["TOKEN_REVOKED", "TOKEN_REVOKED"]
        seconds = time.monotonic() - began
        print(f"idle streams were cut {1000 * seconds:.0f} ms after the suspension was answered")
        assert seconds < WITHIN_SECONDS


async def reason_of_its_end(live: Any) -> str:
    """Reads a stream to its end; returns the reason of the refusal."""
    try:
        while await live.read() is not grpc.aio.EOF:
            continue
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return "none"


async def titles_until_refused(live: Any) -> set[str]:
    """Returns what a stream still tells before it ends for a token that is refused."""
    titles = set()
    while True:
        try:
            titles.add((await asyncio.wait_for(live.read(), 10)).notification.title)
        except grpc.aio.AioRpcError as error:
            if reason_of(error) != "TOKEN_REVOKED":
                raise
            return titles
