"""Notifications: whom an event concerns, in which words, how many are kept, and how they come live."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from astra.financial.v1.events_pb2 import ComplianceFlagRaised, PaymentFailed, SubscriptionChanged
from astra.gamification.v1.events_pb2 import AchievementUnlocked, LevelUp, StreakUpdated, XpGained
from astra.nft.v1.events_pb2 import MarketplaceSale, NftSold, RewardDistributed
from astra.social.v1.events_pb2 import ClanBattleCompleted, SocialInteraction, SocialRatingChanged
from astra.trading.v1.events_pb2 import RiskAlertRaised, RiskLevel, TradeExecuted, TradeFailed
from astra.type.v1.money_pb2 import Money
from astra.user.v1 import user_service_pb2 as pb
from astra.user.v1.events_pb2 import AccountChange, AccountStatusChanged
from astra.user.v1.notification_pb2 import NotificationKind
from google.protobuf.message import Message

from bridge.groups import routes
from services import contracts
from services.domain import Domain
from services.user.notices import TELL, notices_of
from services.user.notifications import KEPT, RETENTION_MS
from services.user.reactions import GROUPS
from tests.reacting import Streams, react
from tests.serving import as_user, reason_of
from tests.unit_user.users import HandClock, count, envelopes, registering

GROUP = "notification_senders"
USD = Money(currency_code="USD", amount="12.50")
SHARDS = Money(currency_code="SHARDS", amount="90")


def level_up(user_id: str = "ann", level: int = 2) -> LevelUp:
    return LevelUp(user_id=user_id, old_level=level - 1, new_level=level, total_xp=1000 * level)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (level_up(), {"ann": "You reached level 2"}),
        (AchievementUnlocked(user_id="ann", display_name="First Steps"), {"ann": "Achievement: First Steps"}),
        (StreakUpdated(user_id="ann", days=7), {"ann": "7 days in a row"}),
        (StreakUpdated(user_id="ann", days=4), {}),
        (XpGained(user_id="ann", xp=10), {}),
        (
            SocialInteraction(user_id="bob", target_user_id="ann", kind="INTERACTION_KIND_FOLLOW"),
            {"ann": "Somebody follows you"},
        ),
        (SocialInteraction(user_id="ann", target_user_id="ann", kind="INTERACTION_KIND_LIKE"), {}),
        (SocialInteraction(user_id="ann", kind="INTERACTION_KIND_TRADE_SHARE"), {}),
        (
            SocialInteraction(user_id="bob", target_user_id="ann", kind="INTERACTION_KIND_ENDORSEMENT"),
            {"ann": "Somebody endorses you"},
        ),
        (SocialInteraction(user_id="bob", target_user_id="ann", kind="INTERACTION_KIND_NEGATIVE"), {}),
        (SocialRatingChanged(user_id="ann", old_rating="50.00", new_rating="52.00"), {"ann": "Your rating changed"}),
        (
            ClanBattleCompleted(
                shares=[
                    ClanBattleCompleted.Share(user_id="ann", amount=USD),
                    ClanBattleCompleted.Share(user_id="bob", amount=USD),
                ]
            ),
            {"ann": "A battle of your clan is over", "bob": "A battle of your clan is over"},
        ),
        (NftSold(seller_user_id="ann", buyer_user_id="bob", price=SHARDS), {"bob": "The NFT is yours"}),
        (MarketplaceSale(seller_user_id="ann", proceeds=SHARDS), {"ann": "Your NFT is sold"}),
        (RewardDistributed(user_id="ann", display_name="Level 2 Pioneer"), {"ann": "You were given Level 2 Pioneer"}),
        (RiskAlertRaised(user_id="ann", level=RiskLevel.RISK_LEVEL_HIGH), {"ann": "Risk is high"}),
        (TradeExecuted(user_id="ann", mode="TRADING_MODE_PRACTICE", amount=USD), {}),
        (TradeExecuted(user_id="ann", mode="TRADING_MODE_LIVE", amount=USD), {"ann": "Your order was filled"}),
        (TradeFailed(user_id="ann", amount=USD), {"ann": "Your order was refused"}),
        (PaymentFailed(user_id="ann", amount=USD), {"ann": "Payment declined"}),
        (SubscriptionChanged(user_id="ann", tier="pro", state="active"), {"ann": "Your subscription is active"}),
        # Whom a check is about is not told of it.
        (ComplianceFlagRaised(user_id="ann"), {}),
        (
            AccountStatusChanged(user_id="ann", change=AccountChange.ACCOUNT_CHANGE_SUSPENDED),
            {"ann": "Your account is suspended"},
        ),
        (AccountStatusChanged(user_id="ann"), {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else "",
)
def test_an_event_is_news_to_whom_it_concerns(event: Message, told: dict[str, str]) -> None:
    assert {notice.user_id: notice.title for notice in notices_of(event, lambda _: "")} == told


def test_every_event_in_the_table_is_read_by_the_group_and_its_own_wildcard_is_not() -> None:
    [group] = [group for group in GROUPS if group.name == GROUP]
    assert group.consumers == 3
    read = {route.kind.message for route in routes(group, "user").values()}
    assert set(TELL) <= read
    own = {kind.message for kind in contracts.events().values() if kind.domain == "user"}
    assert read & own == {AccountStatusChanged}


async def listed(stub: Any, user_id: str = "ann", **fields: Any) -> pb.ListNotificationsResponse:
    request = pb.ListNotificationsRequest(**fields)
    reply: pb.ListNotificationsResponse = await stub.ListNotifications(request, metadata=as_user(user_id))
    return reply


async def test_a_repeated_event_is_told_once_and_publishes_nothing(stub: Any, domain: Domain) -> None:
    event = Streams().add(level_up(), correlation_id="chain-7")
    assert await react(domain, GROUP, event, event) == [True, False]
    [news] = (await listed(stub)).notifications
    assert (news.kind, news.event_type) == (
        NotificationKind.NOTIFICATION_KIND_PROGRESS,
        "astra.gamification.v1.LevelUp",
    )
    assert (news.subject, news.correlation_id) == ("ann", "chain-7")
    assert envelopes(domain.store) == []
    assert list((await listed(stub, "bob")).notifications) == []


async def test_who_did_it_is_told_by_the_name_others_see(stub: Any, domain: Domain) -> None:
    bob = (await stub.RegisterUser(registering("bob", display_name="Bob the Bold"))).user
    await react(
        domain,
        GROUP,
        Streams().add(SocialInteraction(user_id=bob.user_id, target_user_id="ann", kind="INTERACTION_KIND_LIKE")),
    )
    [news] = (await listed(stub)).notifications
    assert news.title == "Bob the Bold likes what you do"
    assert "example.org" not in str(news)


async def test_they_are_listed_newest_first_in_pages_and_by_kind(stub: Any, domain: Domain) -> None:
    streams = Streams()
    await react(domain, GROUP, *(streams.add(level_up(level=level)) for level in range(2, 7)))
    await react(domain, GROUP, streams.add(PaymentFailed(user_id="ann", amount=USD)))
    titles, token = [], ""
    while True:
        page = await listed(stub, page_size=4, page_token=token)
        titles += [news.title for news in page.notifications]
        if not (token := page.next_page_token):
            break
    assert titles == ["Payment declined", *(f"You reached level {level}" for level in range(6, 1, -1))]
    chosen = (await listed(stub, kinds=["NOTIFICATION_KIND_PAYMENT"])).notifications
    assert [news.title for news in chosen] == ["Payment declined"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await listed(stub, kinds=[99])
    assert reason_of(caught.value) == "INVALID_FIELD"


async def test_a_bounded_number_is_kept_and_not_for_ever(stub: Any, domain: Domain, clock: HandClock) -> None:
    streams = Streams()
    await react(domain, GROUP, streams.add(level_up("bob")))
    await react(domain, GROUP, *(streams.add(level_up(level=level)) for level in range(2, KEPT + 7)))
    newest = (await listed(stub, page_size=1000)).notifications
    assert len(newest) == KEPT
    assert newest[0].title == f"You reached level {KEPT + 6}"
    assert len((await listed(stub, "bob")).notifications) == 1  # another's news push nobody's out
    clock.ms += RETENTION_MS + 1
    await react(domain, GROUP, *(streams.add(level_up("carl", level=level)) for level in range(2, 110)))
    assert (await listed(stub)).notifications == []
    assert count(domain.store, "notification") == 108


async def test_they_come_live_and_a_cut_stream_goes_on_where_it_was(stub: Any, domain: Domain) -> None:
    streams = Streams()
    await react(domain, GROUP, streams.add(level_up(level=2)))
    live = stub.WatchNotifications(pb.WatchNotificationsRequest(), metadata=as_user("ann"))
    await live.initial_metadata()
    reading = asyncio.ensure_future(live.read())
    await asyncio.sleep(0.05)
    assert not reading.done()  # what was there before is listed, not streamed
    began = time.monotonic()
    await react(domain, GROUP, streams.add(level_up("bob")), streams.add(level_up(level=3)))
    first = await asyncio.wait_for(reading, 5)
    assert time.monotonic() - began < 2  # some milliseconds; the bound only excludes a poll
    assert first.notification.title == "You reached level 3"
    live.cancel()
    await react(domain, GROUP, streams.add(level_up(level=4)), streams.add(level_up(level=5)))
    again = stub.WatchNotifications(
        pb.WatchNotificationsRequest(resume_token=first.resume_token), metadata=as_user("ann")
    )
    titles = [(await asyncio.wait_for(again.read(), 5)).notification.title for _ in range(2)]
    assert titles == ["You reached level 4", "You reached level 5"]
    again.cancel()


async def test_a_made_up_resume_token_is_refused(stub: Any) -> None:
    stream = stub.WatchNotifications(pb.WatchNotificationsRequest(resume_token="made-up"), metadata=as_user("ann"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert (caught.value.code().name, "resume_token" in (caught.value.details() or "")) == ("INVALID_ARGUMENT", True)
