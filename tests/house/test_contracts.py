"""The contracts as a whole: the catalogue against the table of facts, and what every rpc and event must have."""

import re

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pool

from services.contracts import EventType, Rpc, events, rpcs, streams_of
from services.mesh import SERVICES

EVENTS = {
    "trading": "TradeExecuted TradeFailed PositionUpdated PositionClosed TradingRewardsCalculated"
    " ClanBattleScoreUpdated RiskAlertRaised",
    "gamification": "XpGained LevelUp AchievementUnlocked StreakUpdated LeaderboardUpdated",
    "social": "SocialInteraction SocialRatingChanged SocialProfileCreated FeedEntryCreated ClanMemberJoined"
    " ClanBattleCompleted",
    "financial": "PaymentCompleted PaymentFailed RevenueRecorded SubscriptionChanged ComplianceFlagRaised",
    "nft": "RewardDistributed NftMinted NftListed NftSold MarketplaceSale",
    "user": "UserRegistered ProfileUpdated AccountStatusChanged",
    "analytics": "",
}
TAKES_NO_REQUEST_ID = {"Login", "RefreshSession", "Logout"}
"""Writes whose reply holds tokens and must not be kept."""


def test_the_catalogue_has_the_31_events_of_the_table() -> None:
    assert {
        service.name: sorted(
            event.message.DESCRIPTOR.name for event in events().values() if event.domain == service.name
        )
        for service in SERVICES
    } == {domain: sorted(names.split()) for domain, names in EVENTS.items()}
    assert len(events()) == 31


@pytest.mark.parametrize("event", events().values(), ids=lambda event: event.stream)
def test_a_stream_is_named_after_its_event_and_carries_no_secret(event: EventType) -> None:
    assert re.fullmatch(rf"astra\.{event.domain}\.[a-z_]+\.v1", event.stream)
    assert event.stream in streams_of(event.domain)
    assert event.subject_field
    fields = {field.name for field in event.message.DESCRIPTOR.fields}
    assert not [name for name in fields if re.search(r"password|token|card|email|secret", name)]


@pytest.mark.parametrize("rpc", rpcs().values(), ids=lambda rpc: rpc.path)
def test_an_rpc_has_what_its_kind_needs(rpc: Rpc) -> None:
    method = descriptor_pool.Default().FindMethodByName(rpc.path[1:].replace("/", "."))
    routed = method.GetOptions().HasExtension(annotations_pb2.http)
    assert routed == rpc.public, "rpcs of the public listener have a REST route, the others none"
    fields = rpc.request.DESCRIPTOR.fields_by_name
    if not rpc.read_only and rpc.name not in TAKES_NO_REQUEST_ID:
        assert "request_id" in fields, "a write takes a request_id (AIP-155)"
    if rpc.read_only:
        assert "request_id" not in fields
    if (rpc.read_only and rpc.name.startswith("List")) or "page_token" in fields:
        assert {"page_size", "page_token"} <= set(fields)
        assert "next_page_token" in rpc.response.DESCRIPTOR.fields_by_name


def test_a_reason_is_upper_snake_case() -> None:
    reasons = {reason for rpc in rpcs().values() for reason in rpc.error_reasons}
    assert reasons
    assert all(re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", reason) for reason in reasons)
