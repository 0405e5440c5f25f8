"""Money: balances follow from what was acknowledged, fees are 0.1 %, PnL counts once, and every entry has two sides."""

from collections import Counter, defaultdict
from decimal import Decimal

from tests.story.worth import amount_of, fee_of, platform_fee
from tests.system.findings import Evidence, Findings

OPENING = Decimal(10_000)
FLAGGED_ABOVE = Decimal(10_000)
IN_FLIGHT = "platform:in-flight"
MINOR = {"USD": 100, "EUR": 100, "GBP": 100, "SHARDS": 1}


def trades(findings: Findings, evidence: Evidence) -> None:
    """Every acknowledged trade was published, and no other; portfolios follow from them."""
    journal, world = evidence.journal, evidence.world
    published = sorted(event.trade_id for event in evidence.events("TradeExecuted"))
    findings.same("trades published", published, sorted(journal.trades))
    closed = {key: each for key, each in journal.trades.items() if each["state"] == "TRADE_STATE_COMPLETED"}
    findings.same(
        "closes published", sorted(event.trade_id for event in evidence.events("PositionClosed")), sorted(closed)
    )
    rewarded = sorted(key for key, each in closed.items() if amount_of(each["pnl"]) > 0)
    findings.same(
        "bonuses published", sorted(event.trade_id for event in evidence.events("TradingRewardsCalculated")), rewarded
    )
    balance = {user.user_id: OPENING + journal.granted_usd(user.user_id) for user in evidence.users}
    pnl, fees = dict.fromkeys(balance, Decimal(0)), dict.fromkeys(balance, Decimal(0))
    for key, trade in journal.trades.items():
        amount, fee = amount_of(trade["amount"]), amount_of(trade["fee"])
        findings.same(f"fee of {amount}", fee, fee_of(amount))
        won = amount_of(trade["pnl"]) if key in closed else Decimal(0)
        balance[trade["userId"]] += (amount + won if key in closed else 0) - amount - fee
        pnl[trade["userId"]] += won
        fees[trade["userId"]] += fee
    for user_id, of_user in world.users.items():
        found = {
            "balance": amount_of(of_user["portfolio"]["balance"]),
            "realised PnL": amount_of(of_user["portfolio"]["realizedPnl"]),
            "PnL of all days": amount_of(of_user["performance"].get("pnl")),
            "fees of all days": amount_of(of_user["performance"].get("fees")),
        }
        expected = {
            "balance": balance[user_id],
            "realised PnL": pnl[user_id],
            "PnL of all days": pnl[user_id],
            "fees of all days": fees[user_id],
        }
        findings.same_items(f"{user_id}: trading's", found, expected)


def payments(findings: Findings, evidence: Evidence) -> None:
    """Each payment was published once and booked once; accounts and subscriptions follow from the payments."""
    listed = {row["paymentId"]: row for of_user in evidence.world.users.values() for row in of_user["transactions"]}
    states = {key: row["state"].removeprefix("PAYMENT_STATE_") for key, row in listed.items()}
    for state, event in (("COMPLETED", "PaymentCompleted"), ("FAILED", "PaymentFailed")):
        published = sorted(each.payment_id for each in evidence.events(event))
        findings.same(f"{event}", published, sorted(key for key, each in states.items() if each == state))
    findings.same("payments on their way", [key for key, state in states.items() if state == "PENDING"], [])
    completed = [key for key, state in states.items() if state == "COMPLETED"]
    findings.acknowledged(
        "payments", completed, {key: each["state"] for key, each in evidence.journal.payments.items()}
    )
    balances: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for key, row in listed.items():
        if states[key] == "COMPLETED":
            balances[row["userId"], row["amount"]["currencyCode"]] += _change(
                row, listed.get(row.get("refundedPaymentId", ""))
            )
    found = {
        (user_id, balance["currencyCode"]): amount_of(balance)
        for user_id, of_user in evidence.world.users.items()
        for balance in of_user["account"].get("balances", [])
    }
    findings.same_items("account", found, balances)
    verified = {user_id for user_id, each in evidence.world.users.items() if "kycExpireTime" in each["account"]}
    findings.same("verified identities", verified, evidence.journal.verified)
    flags = Counter((flag.payment_id, flag.reason) for flag in evidence.events("ComplianceFlagRaised"))
    findings.same("flags raised twice", [flag for flag, times in flags.items() if times > 1], [])
    large = {
        (key, "AML_LARGE_DEPOSIT")
        for key, row in listed.items()
        if row["purpose"] == "PAYMENT_PURPOSE_DEPOSIT"
        and states[key] == "COMPLETED"
        and amount_of(row["amount"]) > FLAGGED_ABOVE
    }
    rejected = {(key, "AML_AMOUNT") for key, row in listed.items() if row.get("reason") == "AML_AMOUNT"}
    findings.same("flags", {flag for flag in flags if flag[1] != "AML_DAILY_WITHDRAWALS"}, large | rejected)
    _subscriptions(findings, evidence)


def _change(row: dict[str, object], refunded: dict[str, object] | None) -> Decimal:
    """Returns what a completed payment does to its user's balance."""
    amount = amount_of(row["amount"])  # type: ignore[arg-type]
    match str(row["purpose"]).removeprefix("PAYMENT_PURPOSE_"):
        case "DEPOSIT":
            return amount
        case "WITHDRAWAL":
            return -amount
        case "SUBSCRIPTION":
            return Decimal(0) if row.get("cardLastFour") else -amount
        case _:
            assert refunded is not None
            by_card = refunded.get("cardLastFour")
            if refunded["purpose"] == "PAYMENT_PURPOSE_DEPOSIT":
                return -amount
            return Decimal(0) if by_card else amount


def _subscriptions(findings: Findings, evidence: Evidence) -> None:
    """Users have what the last event says."""
    last = {event.user_id: (event.tier, event.state) for event in evidence.events("SubscriptionChanged")}
    found = {
        user_id: (
            of_user["subscription"]["tier"].removeprefix("SUBSCRIPTION_TIER_").lower(),
            of_user["subscription"]["state"].removeprefix("SUBSCRIPTION_STATE_").lower(),
        )
        for user_id, of_user in evidence.world.users.items()
    }
    findings.same_items("subscription", found, {user_id: last.get(user_id, ("free", "active")) for user_id in found})


def revenue(findings: Findings, evidence: Evidence) -> None:
    """What was earned is what was published, and follows from trades, payments and sales; the ledger has all of it."""
    earned: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for trade in evidence.journal.trades.values():
        earned["TRADING_FEES", "USD"] += fee_of(amount_of(trade["amount"]))
    for of_user in evidence.world.users.values():
        for row in of_user["transactions"]:
            if (row["purpose"], row["state"]) == ("PAYMENT_PURPOSE_SUBSCRIPTION", "PAYMENT_STATE_COMPLETED"):
                earned["SUBSCRIPTIONS", "USD"] += amount_of(row["amount"])
    for sale in evidence.events("NftSold"):
        earned["NFT_MARKETPLACE", "SHARDS"] += platform_fee(int(sale.price.amount))
    shown = {
        (row["stream"].removeprefix("REVENUE_STREAM_"), row["amount"]["currencyCode"]): amount_of(row["amount"])
        for row in evidence.world.revenue
    }
    findings.same_items("revenue", shown, earned)
    published: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for event in evidence.events("RevenueRecorded"):
        stream = type(event).DESCRIPTOR.fields_by_name["stream"].enum_type.values_by_number[event.stream].name
        published[stream.removeprefix("REVENUE_STREAM_"), event.amount.currency_code] += Decimal(event.amount.amount)
    findings.same_items("revenue published", published, earned)
    booked: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for _, owner, currency, change in evidence.world.entries:
        if owner.startswith("platform:revenue:"):
            booked[owner.split(":")[2].upper(), currency] += Decimal(change) / MINOR[currency]
    findings.same_items("revenue booked", booked, earned)


def ledger(findings: Findings, evidence: Evidence) -> None:
    """Each transfer has two entries that sum to zero; nothing is on its way; accounts are the sums of their entries."""
    sums, sides, accounts = Counter[tuple[str, str]](), Counter[str](), Counter[tuple[str, str]]()
    for transfer, owner, currency, change in evidence.world.entries:
        sums[transfer, currency] += change
        sides[transfer] += 1
        accounts[owner, currency] += change
    findings.same("transfers that do not sum to zero", {key for key, total in sums.items() if total}, set())
    findings.same("transfers with other than two sides", {key for key, count in sides.items() if count != 2}, set())
    findings.same("money in flight", {key: each for key, each in accounts.items() if key[0] == IN_FLIGHT and each}, {})
    shown = {
        (user_id, balance["currencyCode"]): int(amount_of(balance) * MINOR[balance["currencyCode"]])
        for user_id, of_user in evidence.world.users.items()
        for balance in of_user["account"].get("balances", [])
    }
    mine = {key: total for key, total in accounts.items() if key[0] in evidence.world.users}
    findings.same_items("account against its entries", shown, mine)
