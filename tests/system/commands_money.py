"""What the users of a random run do with money and NFTs."""

from decimal import Decimal
from typing import Any

from tests.story.day import CARD, DECLINED
from tests.story.rest import Session
from tests.system import commands
from tests.system.crowd import Command, Crowd
from tests.system.journal import Answer

CURRENCIES = ("USD", "USD", "EUR")
TIERS = ("BASIC", "PRO", "PREMIUM", "ENTERPRISE")
GENESIS = ("first_trade", "constellation_founder", "level_milestone")


def _money(crowd: Crowd, most: int) -> dict[str, str]:
    amount = Decimal(crowd.chance.randrange(100, most * 100)) / 100
    return {"currencyCode": crowd.chance.choice(CURRENCIES), "amount": f"{amount:.2f}"}


def _card(crowd: Crowd) -> dict[str, Any]:
    return DECLINED if crowd.chance.random() < 0.1 else CARD


def _note(crowd: Crowd, payment: Answer) -> None:
    crowd.journal.payments[payment["paymentId"]] = payment


async def deposit(crowd: Crowd, user: Session) -> None:
    """Pays in; now and then so much that it is flagged, and by a card that is declined."""
    most = 15_000 if crowd.chance.random() < 0.1 else 500
    body = {"amount": _money(crowd, most), "card": _card(crowd)}
    _note(crowd, await crowd.send(f"/v1/users/{user.user_id}/account:deposit", body, user))


async def withdraw(crowd: Crowd, user: Session) -> None:
    most = 15_000 if crowd.chance.random() < 0.2 else 200
    body = {"amount": _money(crowd, most), "card": _card(crowd)}
    _note(crowd, await crowd.send(f"/v1/users/{user.user_id}/account:withdraw", body, user))


async def refund(crowd: Crowd, user: Session) -> bool | None:
    """Takes a part, or all that is left, of a payment back."""
    mine = [key for key, each in sorted(crowd.journal.payments.items()) if each["userId"] == user.user_id]
    if not mine:
        return False
    payment = crowd.journal.payments[crowd.chance.choice(mine)]
    body = {"amount": {**payment["amount"], "amount": "1.00"}} if crowd.chance.random() < 0.5 else {}
    path = f"/v1/users/{user.user_id}/payments/{payment['paymentId']}:refund"
    _note(crowd, await crowd.send(path, body, user))
    return None


async def subscribe(crowd: Crowd, user: Session) -> None:
    """Subscribes, or to a higher tier; from the balance or by card."""
    body: dict[str, Any] = {"tier": f"SUBSCRIPTION_TIER_{crowd.chance.choice(TIERS)}"}
    if crowd.chance.random() < 0.5:
        body["card"] = _card(crowd)
    answer = await crowd.send(f"/v1/users/{user.user_id}/subscription:subscribe", body, user)
    if "payment" in answer:
        _note(crowd, answer["payment"])


async def cancel_subscription(crowd: Crowd, user: Session) -> None:
    await crowd.send(f"/v1/users/{user.user_id}/subscription:cancel", {}, user)


async def verify_kyc(crowd: Crowd, user: Session) -> None:
    await crowd.send(f"/v1/users/{user.user_id}/account:verifyKyc", {}, crowd.admin)
    crowd.journal.verified.add(user.user_id)


async def mint(crowd: Crowd, user: Session) -> None:
    genesis = {"genesisType": crowd.chance.choice(GENESIS)}
    nft = await crowd.send(f"/v1/users/{user.user_id}/nfts:mint", genesis, user)
    crowd.journal.minted[nft["nftId"]] = nft


async def offer(crowd: Crowd, user: Session) -> bool | None:
    """Puts one of the user's NFTs up for sale, also one that was bought: rewards, too, can be sold."""
    nfts = (await crowd.rest.get(f"/v1/users/{user.user_id}/nfts?pageSize=1000", session=user)).get("nfts", [])
    if not nfts:
        return False
    path = f"/v1/users/{user.user_id}/nfts/{crowd.chance.choice(nfts)['nftId']}:list"
    price = {"price": {"currencyCode": "SHARDS", "amount": str(crowd.chance.randrange(1, 70))}}
    listing = await crowd.send(path, price, user)
    crowd.journal.listings[listing["listingId"]] = listing
    return None


async def unlist(crowd: Crowd, user: Session) -> bool | None:
    mine = [key for key, each in sorted(crowd.journal.listings.items()) if each["sellerUserId"] == user.user_id]
    if not mine:
        return False
    await crowd.send(f"/v1/users/{user.user_id}/listings/{crowd.chance.choice(mine)}:unlist", {}, user)
    return None


async def buy(crowd: Crowd, user: Session) -> bool | None:
    offers = (await crowd.rest.get("/v1/listings?pageSize=20", session=user)).get("listings", [])
    if not offers:
        return False
    purchase = await crowd.send(f"/v1/listings/{crowd.chance.choice(offers)['listingId']}:buy", {}, user)
    crowd.journal.purchases[purchase["purchaseId"]] = purchase
    return None


COMMANDS: tuple[tuple[int, Command], ...] = (
    *((26, commands.trade), (12, commands.close), (3, commands.grant)),
    *((3, commands.award), (4, commands.check_in), (2, commands.verify), (1, commands.read_notifications)),
    *((12, commands.interact), (1, commands.found_clan), (2, commands.join_clan), (1, commands.leave_clan)),
    *((3, commands.challenge), (4, commands.answer_challenge), (2, commands.end_battle)),
    *((7, deposit), (5, withdraw), (2, refund), (5, subscribe), (2, cancel_subscription), (2, verify_kyc)),
    *((5, mint), (7, offer), (1, unlist), (9, buy)),
)
"""How often, and what."""
