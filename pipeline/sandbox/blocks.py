"""The blocks that come only when asked for, one function each, and the table of which embed brings which."""

from collections.abc import Callable
from datetime import date, timedelta

from pipeline.sandbox.ask import Ask
from pipeline.sandbox.catalogue import IMAGE_HOST, ORG_ID, SEGMENTS, TILLS
from pipeline.sandbox.customers import Customer
from pipeline.sandbox.dice import Dice, topic
from pipeline.sandbox.groups import add_groups
from pipeline.sandbox.programs import gap_details, group_programs, loyalty_programs, points_summary
from pipeline.sandbox.rawjson import Document

_SUBSCRIPTIONS, _PROMOTIONS, _EXPIRY, _EXPIRED, _SEGMENTS = map(
    topic, ("subscriptions", "promotions", "expiry", "expired", "segments")
)
_IMAGES, _STATUS, _FRAUD, _FLAGS, _CURRENCY = map(topic, ("images", "status", "fraud", "flags", "currency"))

Add = Callable[[Document, Customer, Ask], None]

_HEAVY_SHARE = 0.002  # members with a thousand promotional rows


def add_points(document: Document, customer: Customer, ask: Ask) -> None:
    """`pointsSummary`: loyalty customers only."""
    if customer.is_loyal:
        document["pointsSummary"] = points_summary(customer)


def add_programs(document: Document, customer: Customer, ask: Ask) -> None:
    """`loyaltyProgramDetails` and `groupLoyaltyProgramDetails`; empty lists for customers outside the
    programmes."""
    document["loyaltyProgramDetails"] = loyalty_programs(customer, ask) if customer.is_loyal else []
    document["groupLoyaltyProgramDetails"] = group_programs(customer) if customer.is_loyal else []


def add_subscriptions(document: Document, customer: Customer, ask: Ask) -> None:
    """`subscriptionInfo`: one row per channel and priority."""
    dice = customer.dice(_SUBSCRIPTIONS)
    rows: list[Document] = []
    for channel in ("EMAIL", "SMS", "ANDROID", "IOS", "WHATSAPP")[: 2 + dice.under(4)]:
        for priority in ("TRANS", "BULK"):
            row: Document = {
                "channel": channel.lower() if dice.chance(0.02) else channel,
                "priority": priority,
                "type": "OPTOUT" if dice.chance(0.15) else "OPTIN",
            }
            if customer.others:
                row |= {"sourceName": "INSTORE", "accountId": ""}
            rows.append(row)
    document["subscriptionInfo"] = {"subscriptions": rows}


def add_promotions(document: Document, customer: Customer, ask: Ask) -> None:
    """`promotionalPoints`: three lists; a few customers have a thousand rows."""
    dice = customer.dice(_PROMOTIONS)
    count = 1000 if dice.chance(_HEAVY_SHARE) else min(customer.ticks, 4)
    document["promotionalPoints"] = {
        "customerPromotionType": [_promotion(customer, number, dice) for number in range(count)],
        "transactionPromotionType": [
            _promotion(customer, 0, dice) | {"transactionId": 9_000_000 + customer.k}
        ]
        if dice.chance(0.2)
        else [],
        "lineitemPromotionType": [_promotion(customer, 1, dice) | {"lineItemId": 8_000_000 + customer.k}]
        if dice.chance(0.1)
        else [],
    }


def _promotion(customer: Customer, number: int, dice: Dice) -> Document:
    issued = customer.born + timedelta(days=20 * (number % 60))
    is_goodwill = dice.chance(0.5)
    return {
        "points": customer.number(100 * (10 + dice.under(300))),
        "issuedAt": {"code": "store", "name": f"store {dice.under(30)}"},
        "issuedOn": customer.at(issued, _PROMOTIONS + number),
        "expiryDate": f"{issued.year + (1 if is_goodwill else 100)}-12-31T23:59:59{customer.zone}",
        "promotionSource": {
            "promotionSourceId": -1 if is_goodwill else 700 + dice.under(9),
            "promotionSourceType": "GOODWILL" if is_goodwill else "CAMPAIGN",
        },
        "programId": customer.programs[0].id,
        "promotionName": "Goodwill Promotion" if is_goodwill else "Double points 雙倍積分",
    }


def add_expiry(document: Document, customer: Customer, ask: Ask) -> None:
    """`expirySchedules`: no key of its own, and sometimes the same row twice."""
    dice = customer.dice(_EXPIRY)
    rows = [_expiry(customer, number, dice) for number in range(min(customer.visits, dice.under(6)))]
    if rows and dice.chance(0.05):
        rows.append(rows[0])
    document["expirySchedules"] = rows


def _expiry(customer: Customer, number: int, dice: Dice) -> Document:
    day = date(2117 + number, 1 + dice.under(12), 28) if dice.chance(0.5) else date(2027 + number, 6, 11)
    row: Document = {
        "points": customer.number(1000 * (1 + dice.under(60))),
        "expiryDate": str(day),
        "programId": dice.pick(customer.programs).id,
    }
    if dice.chance(0.5):
        row["expiryDateISO"] = f"{day}T00:00:00{customer.zone}"
    if dice.chance(0.8):
        row |= {
            "pointsType": dice.pick(
                ("bill_regular", "bill_promotions", "line_item_regular", "customer_promotions")
            ),
            "expiryType": dice.pick(("fixed", "rolling")),
        }
    return row


def add_expired(document: Document, customer: Customer, ask: Ask) -> None:
    """`expiredPoints`: one row per expiry so far, the last three."""
    dice = customer.dice(_EXPIRED)
    document["expiredPoints"] = [
        _expired(customer, customer.born + timedelta(days=25 * number), dice)
        for number in range(max(0, customer.ticks - 3), customer.ticks)
    ]


def _expired(customer: Customer, day: date, dice: Dice) -> Document:
    return {
        "points": customer.number(200),
        "expiredOn": str(day),
        "programId": customer.programs[0].id,
        "expiredPointsSummary": [
            {
                "paType": dice.pick(("POINT_AWARDED", "POINT_AWARDED_LINEITEM")),
                "paId": 716_000_000 + dice.under(1_000_000),
                "expiryUpdateReasonType": "Expiry strategy",
                "expiryUpdateReasonNote": "NA",
                "newExpiryDate": f"{day} 01:04:05.0",
                "eventDate": f"{day} 01:04:05.0",
                "points": customer.number(200),
                "strategyName": "25Days_rolling",
            }
        ],
    }


def add_returned(document: Document, customer: Customer, ask: Ask) -> None:
    """`returnedPoints`: its shape isn't documented; this one is like its siblings'."""
    returns = customer.visits // 30
    document["returnedPoints"] = [
        {
            "points": customer.number(customer.basket // 20),
            "returnedOn": str(customer.born + timedelta(days=30 * customer.period * (number + 1))),
            "programId": customer.programs[0].id,
            "transactionNumber": f"R-{customer.k}-{number}",
        }
        for number in range(min(returns, 5))
    ]


def add_gap_details(document: Document, customer: Customer, ask: Ask) -> None:
    """`gapDetails`, deprecated."""
    document["gapDetails"] = gap_details(customer) if customer.is_loyal else []


def add_images(document: Document, customer: Customer, ask: Ask) -> None:
    """`customerImage`, with addresses that look signed: a client has to keep them out of tables and logs."""
    dice = customer.dice(_IMAGES)
    document["customerImage"] = [_image(customer, dice)] if dice.chance(0.2) else []


def _image(customer: Customer, dice: Dice) -> Document:
    handle = f"{dice.under(1 << 32):08x}-0822-48b3-90ad-{dice.under(1 << 48):012x}"
    path = f"customerImage/{ORG_ID}/{customer.id}/{handle}"
    token, signature = f"FAKE{dice.under(1 << 50):013x}", f"{dice.under(1 << 50):064x}"
    signed = f"{IMAGE_HOST}/{path}?X-Amz-Security-Token={token}&X-Amz-Signature={signature}"
    image: Document = {
        "code": 200,
        "file": {
            "acl": "PRIVATE",
            "fileHandle": handle,
            "lastModified": f"{customer.born} 08:59:41",
            "latestVersion": 2,
            "name": f"{ORG_ID}/{customer.id}/0",
            "namespace": "customerImage",
            "s3Token": path,
            "version": 2,
            "fileSize": str(1000 + dice.under(300_000)),
        },
        "filePath": signed,
        "message": "Success",
        "secureFilePath": signed,
        "status": "true",
    }
    return image


def add_associated_images(document: Document, customer: Customer, ask: Ask) -> None:
    """`associatedImages`: shape not documented; a barcode and its signed address."""
    token = f"{customer.dice(_IMAGES).under(1 << 40):010x}"
    document["associatedImages"] = [
        {
            "type": "BARCODE",
            "code": f"99{customer.k:010d}",
            "filePath": f"{IMAGE_HOST}/barcode/{customer.id}.png?X-Amz-Signature=FAKE{token}",
        }
    ]


def add_segments(document: Document, customer: Customer, ask: Ask) -> None:
    """`segments`: a few of the brand's; they move with visits. Sometimes several partitions at once."""
    dice = customer.dice(_SEGMENTS)
    found: Document = {}
    for name, partitions in SEGMENTS.items():
        if not dice.chance(0.6):
            continue
        found[name] = partitions[(customer.visits // 3 + dice.under(9)) % len(partitions)]
        if dice.chance(0.01):
            found[name] = list(partitions[:2])
    document["segments"] = found


def add_status(document: Document, customer: Customer, ask: Ask) -> None:
    """`statusLabel` and its reason: the brand's own words."""
    dice = customer.dice(_STATUS)
    document["statusLabel"] = dice.pick(("Active", "Active", "Active", "VIP-hold", "Suspended", "活跃"))
    document["statusLabelReason"] = dice.pick(("", "Registration", "Asked by customer care", None))


def add_card_loyalty(document: Document, customer: Customer, ask: Ask) -> None:
    """`cardLoyaltyDetails`: points by card; shape not documented."""
    document["cardLoyaltyDetails"] = [
        {
            "cardId": 4_000_000 + 10 * customer.k + number,
            "loyaltyPoints": customer.number(0),
            "programId": 1401,
        }
        for number in range(customer.card_count)
    ]


def add_fleet_parent(document: Document, customer: Customer, ask: Ask) -> None:
    """`associationDetails`: the customer's place in a company's hierarchy, for one in twenty."""
    dice = customer.dice(_FLAGS)
    if not dice.chance(0.05):
        return
    document["associationDetails"] = {
        "hierarchyCode": "fleet-h1",
        "hierarchyId": 21,
        "roleCode": dice.pick(("FA", "FC")),
        "fleetCompany": {"externalId": f"COMP{customer.k % 97:04d}", "companyId": 71 + customer.k % 97},
        "childCustomers": [],
        "skipLevelAllowed": False,
        "new": True,
        "childCustomer": False,
    }


_CURRENCY_AMOUNTS = (
    "earned", "lifetimeEarned", "redeemed", "expired", "returned", "delayedEarned", "delayedLifetimeEarned",
    "delayedReturned", "delayedExpired", "totalAvailable", "totalRedeemed", "totalReturned", "totalExpired",
)  # fmt: skip


def add_currencies(document: Document, customer: Customer, ask: Ask) -> None:
    """`alternateCurrencyDetails`: an object for one currency, sometimes a list."""
    dice = customer.dice(_CURRENCY)
    data: Document = {"name": dice.pick(("Stamps", "Miles"))}
    for amount in _CURRENCY_AMOUNTS:
        data[amount] = customer.number(100 * dice.under(50))
    first = customer.programs[0]
    details: Document = {"programId": first.id, "programName": first.title}
    details["alternateCurrencyData"] = [data] if dice.chance(0.1) else data
    document["alternateCurrencyDetails"] = [details]


def add_fraud(document: Document, customer: Customer, ask: Ask) -> None:
    """`fraudDetails`, by the flag includedFraudDetails."""
    dice = customer.dice(_FRAUD)
    number, code = dice.pick(TILLS)
    marked = dice.chance(0.02)
    document["fraudDetails"] = {
        "markedBy": {"id": number, "code": code, "name": code, "type": "TILL"} if marked else {},
        "modifiedOn": customer.at(customer.born, _FRAUD),
        "status": dice.pick(("MARKED", "CONFIRMED")) if marked else dice.pick(("NOT_FRAUD", "NONE")),
    }


def add_new_flags(document: Document, customer: Customer, ask: Ask) -> None:
    """Blocks of the newest flags: names and shapes are guesses, there to be met as unknown ones."""
    if "ndncStatus" in ask.flags:
        document["ndncStatus"] = "NONE"
    if "optinStatus" in ask.flags:
        document["optinStatus"] = {"SMS": "OPTIN"}
    if "slabHistory" in ask.flags:
        document["slabHistory"] = [{"fromSlab": "", "toSlab": "Base", "changedOn": str(customer.born)}]
    if "tierUpgradeCriteria" in ask.flags:
        document["tierUpgradeCriteria"] = [{"tier": tier.name} for tier in customer.programs[0].tiers]
    if "membershipRetentionCriteria" in ask.flags:
        document["membershipRetentionCriteria"] = []


# By embed in lower case. `ignorecarddetails` isn't here: it takes a block away.
BY_EMBED: dict[str, Add] = {
    "points": add_points,
    "subscriptions": add_subscriptions,
    "mlp": add_programs,
    "promotionalpoints": add_promotions,
    "expiryschedules": add_expiry,
    "expiredpoints": add_expired,
    "returnedpoints": add_returned,
    "usergroup": add_groups,
    "gapdetails": add_gap_details,
    "customerimage": add_images,
    "associatedimages": add_associated_images,
    "segments": add_segments,
    "cardloyaltydetails": add_card_loyalty,
    "fleetparentdetails": add_fleet_parent,
    "customerstatus": add_status,
    "alternatecurrencies": add_currencies,
}
