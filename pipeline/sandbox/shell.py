"""What every answer holds, whatever was asked: profiles, loyaltyInfo, extendedFields, cards."""

from datetime import date, timedelta

from pipeline.sandbox.ask import Ask
from pipeline.sandbox.catalogue import CITIES, ORG_ID, TILLS
from pipeline.sandbox.customers import Customer, Identifier
from pipeline.sandbox.dice import Dice, topic
from pipeline.sandbox.rawjson import Document

_PROFILE, _LOYALTY, _CARDS, _FIELDS, _CREATED, _MODIFIED = map(
    topic, ("profile", "loyalty", "cards", "fields", "created", "modified")
)


def profiles(customer: Customer, ask: Ask) -> list[Document]:
    """One per source and account, the asked one first. An empty list: the customer isn't in the asked
    source."""
    places = [("INSTORE", ""), *customer.others]
    if ask.source == "ALL":
        return [_profile(customer, *place) for place in places]
    current = next((place for place in places if _is_current(place, ask)), None)
    if current is None:
        return []
    if "includedOnlyCurrentProfile" in ask.flags:
        return [_profile(customer, *current)]
    return [_profile(customer, *place) for place in sorted(places, key=lambda place: place != current)]


def _is_current(place: tuple[str, str], ask: Ask) -> bool:
    source, account = place
    return source == ask.source and (ask.account is None or source == "INSTORE" or account == ask.account)


def _profile(customer: Customer, source: str, account: str) -> Document:
    dice = customer.dice(_PROFILE + len(source))
    known_by = customer.identifiers(source)
    identifiers = [_identifier(one, dice) for one in known_by]
    profile: Document = {
        "firstName": customer.first_name,
        "lastName": customer.last_name,
        "attribution": _attribution(customer, dice),
        "fields": _custom_fields(customer, dice),
        "identifiers": identifiers,
        "commChannels": [_channel(one, source, dice) for one in known_by[:2]],
        "source": source,
        "userId": customer.id,
        "accountId": account,
        "conflictingProfileList": [],
        "autoUpdateTime": customer.at(customer.last_visit, _MODIFIED),
    }
    if dice.chance(0.6):
        # Not a superset of `identifiers`, in life either.
        profile["identifiersAll"] = identifiers[:1] if dice.chance(0.2) else identifiers
    if dice.chance(0.4):
        profile["allFields"] = {}
    _wear_out(profile, dice)
    return profile


def _wear_out(profile: Document, dice: Dice) -> None:
    """The gaps of real rows: `""`, null and absent, each apart."""
    for key in ("firstName", "lastName"):
        if dice.chance(0.10):
            profile[key] = dice.pick(("", "", None))
        elif dice.chance(0.02):
            del profile[key]
    for key, share in (("attribution", 0.03), ("identifiers", 0.01), ("accountId", 0.03), ("fields", 0.005)):
        if dice.chance(share):
            del profile[key]
    if dice.chance(0.003):
        profile["userId"] = 299_999_999  # a merge's trace: the row still has the victim's ID
    if dice.chance(0.002):
        profile["consentV3"] = {"version": 3, "purposes": ["ads", "mail"], "at": None}


def _identifier(identifier: Identifier, dice: Dice) -> Document:
    document: Document = {"type": identifier.type, "value": identifier.value}
    if identifier.type.lower() == "cardnumber":
        document |= {"seriesId": 19, "statusLabel": "ACTIVE"}
        if dice.chance(0.3):
            document["statusLabelInfo"] = {
                "orgId": ORG_ID,
                "type": "CARD",
                "internalStatus": "ACTIVE",
                "default": True,
            }
            document["cardId"] = 600_000 + dice.under(100_000)
    return document


def _channel(identifier: Identifier, source: str, dice: Dice) -> Document:
    kind = identifier.type if identifier.type in ("mobile", "email", "wechat", "line") else source.lower()
    as_text = dice.chance(0.02)
    verified = dice.chance(0.4)
    meta: Document = {"residence": False, "office": False}
    if dice.chance(0.05):
        meta["lastViewedDate"] = "2024-02-29"
    channel: Document = {
        "type": kind,
        "value": identifier.value,
        "primary": "true" if as_text else True,
        "verified": str(verified).lower() if as_text else verified,
        "meta": meta,
    }
    if dice.chance(0.8):
        channel["attributes"] = {}
    return channel


def _custom_fields(customer: Customer, dice: Dice) -> Document:
    if dice.chance(0.2):
        return {}
    fields: Document = {"Gender": dice.pick(("Male", "Female", "“MALE”", "")), "birthday": _free_date(dice)}
    if dice.chance(0.5):
        fields["Favorite Color"] = dice.pick(("Green", "青", 'none; prefers: \t"grey"'))
    if dice.chance(0.3):
        fields["tierup_count"] = str(customer.visits // 50)
    if dice.chance(0.2):
        fields["children"] = "firstname:x|birthMonth:3|firstname:y|birthMonth:11"
    if dice.chance(0.3):
        fields["app_active"] = dice.pick(("true", "false"))
    return fields


def _free_date(dice: Dice) -> str:
    year, month, day = 1950 + dice.under(60), 1 + dice.under(12), 1 + dice.under(28)
    return dice.pick(
        (f"{year}-{month}-{day}", f"{day:02d}-{month:02d}-{year}", f"{year}-{month:02d}-{day:02d} 00:18:59")
    )


def _attribution(customer: Customer, dice: Dice) -> Document:
    return {
        "createDate": customer.at(customer.born, _CREATED),
        "createdBy": _till(dice),
        "modifiedBy": _till(dice) if dice.chance(0.9) else {"type": "TILL"},
        "modifiedDate": customer.at(customer.last_visit, _MODIFIED),
    }


def _till(dice: Dice) -> Document:
    number, code = dice.pick(TILLS)
    till: Document = {"id": number, "code": code, "name": code, "type": "TILL"}
    style = dice.unit()
    if style < 0.2:
        till |= {"description": "", "referenceId": -1, "default": False}
    elif style < 0.3:
        till |= {"adminType": "GENERAL", "isActive": True, "isOuEnabled": True, "timeZoneId": 0, "currencyId":
        95,
                 "languageId": -1}  # fmt: skip
    elif style < 0.4:
        del till["id"]
    return till


def loyalty_info(customer: Customer) -> Document:
    """The `loyaltyInfo` object."""
    dice = customer.dice(_LOYALTY)
    info: Document = {"loyaltyType": "loyalty" if customer.is_loyal else "non_loyalty"}
    if dice.chance(0.95):
        info["attributionV2"] = _attribution(customer, dice)
        if dice.chance(0.5):
            info["attributionV2"] = _attribution(customer, dice) | {
                "createdFromSource": dice.pick(("instore", "WEB_ENGAGE"))
            }
    if dice.chance(0.97):
        info["lifetimePurchases"] = customer.number(customer.purchases)
    if dice.chance(0.01):
        info["score"] = dice.under(100)
    return info


def extended_fields(customer: Customer) -> Document:
    """Typed by the brand's configuration, and null where nothing was given."""
    dice = customer.dice(_FIELDS)
    if dice.chance(0.2):
        return {}
    fields: Document = {
        "city": dice.pick((*CITIES, None, "")),
        "gender": dice.pick(("Male", "Female", "Other")),
        "dob": f"{1950 + dice.under(60)}-{1 + dice.under(12):02d}-{1 + dice.under(28):02d}T00:00:00Z",
    }
    if dice.chance(0.2):
        fields["year_of_registration"] = dice.pick((18, "2018", 2018.0))
    if dice.chance(0.1):
        fields["nps"] = None
    return fields


def cards(customer: Customer) -> list[Document]:
    """The `cardDetails` list."""
    dice = customer.dice(_CARDS)
    return [_card(customer, number, dice) for number in range(customer.card_count)]


def _card(customer: Customer, number: int, dice: Dice) -> Document:
    # A card's dates may come from another cluster than the customer's: two zones in one body.
    zone = customer.zone if dice.chance(0.8) else "Z"
    issued = customer.born + timedelta(days=number)
    card_id = 4_000_000 + 10 * customer.k + number
    card: Document = {
        "cardId": card_id,
        "issuedDate": f"{issued}T10:01:33{zone}",
        "createdDate": str(issued),
        "expiryDays": dice.pick((0, 0, 365)),
        "seriesName": "Harbour Card",
        "customerId": customer.id,
        "maxActiveCards": 10,
        "type": dice.pick(("DIGITAL", "PHYSICAL")),
        "cardNumber": f"77{number}{customer.k:09d}",
        "seriesId": 19,
        "seriesCode": dice.pick(("422", "HC-A")),
        "orgId": ORG_ID,
        "entityId": dice.pick(TILLS)[0],
        "customFields": {"cardname": "Everyday", "pincode": ""} if dice.chance(0.5) else {},
        "statusInfo": _card_status(card_id, issued, zone, dice),
        "id": card_id,
        "transactionNotAllowed": dice.chance(0.5),
    }
    _vary_card(card, issued, zone, dice)
    return card


def _vary_card(card: Document, issued: date, zone: str, dice: Dice) -> None:
    if dice.chance(0.4):
        card["cardExternalId"] = f"CX-{card['cardId']}"
    if dice.chance(0.3):
        card["extendedFields"] = {"personalised": "yes", "card_balance": 1000.0, "year_of_registration": 18}
    if dice.chance(0.3):
        card["entityCode"] = dice.pick(TILLS)[1]
    if dice.chance(0.3):
        card["expiryDate"] = f"{issued.year + 100}-12-31T00:00:00{zone}"
    if dice.chance(0.2):
        card["activeAndDigital"] = card["type"] == "DIGITAL"
    if dice.chance(0.01):
        card["walletV2"] = {"provider": "example", "passes": [{"serial": "0001", "installed": True}]}


def _card_status(card_id: int, issued: date, zone: str, dice: Dice) -> Document:
    return {
        "reason": "",
        "createdBy": dice.pick(TILLS)[0],
        "actions": [],
        "autoUpdateTime": str(issued),
        "createdOn": f"{issued}T10:01:33{zone}",
        "entityId": card_id,
        "id": card_id + 70,
        "isActive": True,
        "labelId": 31,
        "label": dice.pick(("ACTIVE", "NEW CARD", "已激活")),
        "status": "ACTIVE",
    }
