"""Whose deed an event is. Much happens to users that do nothing: rewards, renewals, ratings; that is no activity."""

from astra.financial.v1.events_pb2 import PaymentCompleted, PaymentFailed
from astra.gamification.v1.events_pb2 import StreakUpdated
from astra.nft.v1.events_pb2 import NftListed, NftMinted, NftSold
from astra.social.v1.events_pb2 import ClanMemberJoined, SocialInteraction, SocialProfileCreated
from astra.trading.v1.events_pb2 import PositionClosed, TradeExecuted
from astra.user.v1.events_pb2 import ProfileUpdated, UserRegistered
from google.protobuf.message import Message

RENEWED_BY_ITSELF = "subscription"
"""Purpose of payments that come without their user, month by month."""
EDITED = {"display_name", "bio"}
"""Fields of a profile that only its user changes."""


def who_acted(event: Message) -> str:
    """Returns the user whose deed an event is; empty if it is nobody's, or a consequence of another."""
    match event:
        case TradeExecuted() | PositionClosed() | StreakUpdated() | SocialInteraction() | SocialProfileCreated():
            return event.user_id
        case ClanMemberJoined() | NftMinted() | UserRegistered():
            return event.user_id
        case PaymentCompleted() | PaymentFailed():
            return "" if event.purpose == RENEWED_BY_ITSELF else event.user_id
        case ProfileUpdated():
            return event.user_id if EDITED & set(event.changed_fields) else ""
        case NftListed():
            return event.seller_user_id
        case NftSold():
            return event.buyer_user_id
        case _:
            return ""
