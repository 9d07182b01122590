"""User groups and their paging. The block's name and shape aren't documented; this is the likeliest of the
candidates: a list keyed by id, under `userGroup` unless the base calls it otherwise."""

from datetime import timedelta

from pipeline.sandbox.ask import Ask
from pipeline.sandbox.catalogue import PROGRAMS, TILLS
from pipeline.sandbox.customers import Customer
from pipeline.sandbox.dice import Dice, topic
from pipeline.sandbox.programs import program_details
from pipeline.sandbox.rawjson import Document

_GROUPS = topic("groups")
_FIRST_GROUP = 3_900_000
_NEVER_SHOWN = 500  # groups that a stuck paging counts and no page ever holds


def add_groups(document: Document, customer: Customer, ask: Ask) -> None:
    """The asked page of the customer's groups, and what it is a page of."""
    numbers = [number for number in range(group_count(customer)) if _is_asked(customer, number, ask)]
    if not ask.oldest_first:
        numbers.reverse()
    start = 0 if ask.groups_stuck else ask.offset
    page = numbers[start : start + ask.limit]
    document[customer.base.group_block] = [_group(customer, number, ask) for number in page]
    if "ug2PaginationDetails" in ask.flags:
        document["ug2Pagination"] = {
            "limit": ask.limit,
            "offset": ask.offset,
            "sortBy": "JoinedDate",
            "sortOrder": "ASC" if ask.oldest_first else "DESC",
            "total": len(numbers) + (_NEVER_SHOWN if ask.groups_stuck else 0),
        }


def group_count(customer: Customer) -> int:
    """Most are in none or one; one in a hundred is in more than the usual page holds, half of those in more
    than the largest."""
    dice = customer.dice(_GROUPS)
    draw = dice.unit()
    if draw < 0.55:
        return 0
    if draw < 0.85:
        return 1
    if draw < 0.99:
        return 2 + dice.under(3)
    return 11 + dice.under(30) if draw < 0.995 else 101 + dice.under(30)


def group_id(customer: Customer, number: int) -> int:
    """The ID of a customer's group, counted from the one joined first."""
    return _FIRST_GROUP + (customer.k // 4) * 200 + number


def _joined(customer: Customer, number: int) -> str:
    return f"{customer.born + timedelta(days=number)}T05:23:40{customer.zone}"


def _is_asked(customer: Customer, number: int, ask: Ask) -> bool:
    if ask.group_id is not None:
        return group_id(customer, number) == ask.group_id
    if "includedAllUserGroup2" not in ask.flags and number > 0:
        return False
    joined = _joined(customer, number).replace("T", " ")[:19]
    return (not ask.joined_from or joined >= ask.joined_from) and (
        not ask.joined_to or joined <= ask.joined_to
    )


def _group(customer: Customer, number: int, ask: Ask) -> Document:
    dice = Dice(customer.base.seed, _GROUPS, group_id(customer, number))
    identity = group_id(customer, number)
    group: Document = {
        "id": identity,
        "externalId": f"UG-{identity}",
        "groupName": dice.pick(("Family", "家庭", "Crew 🚚", "Office; 4th floor")),
        "groupStatus": "ACTIVE" if dice.chance(0.9) else "INACTIVE",
        "role": "PRIMARY" if customer.k % 4 == 0 else "MEMBER",
        "joinedOn": _joined(customer, number),
        "maxGroupSize": dice.pick((6, 110, 30_000)),
        "lifeTimePurchases": customer.number(customer.purchases),
        "createdBy": dice.pick(TILLS)[0],
        "createdOn": _joined(customer, number),
        "totalActiveMembers": 1,
        "totalExitedMembers": 1 if dice.chance(0.1) else 0,
        "fleetGroupUsers": [_member(customer, identity, number)],
        "extendedFields": {"ug_status": "Active", "ug_rank": 25} if dice.chance(0.3) else {},
    }
    if "includedUserGroup2LoyaltyDetails" in ask.flags:
        group["pointsSummaries"] = [_group_points(customer, identity, ask)]
    return group


def _member(customer: Customer, identity: int, number: int) -> Document:
    return {
        "userId": customer.id,
        "groupId": identity,
        "defaultGroup": number == 0,
        "primaryMember": customer.k % 4 == 0,
        "active": True,
    }


def _group_points(customer: Customer, identity: int, ask: Ask) -> Document:
    points = program_details(customer, PROGRAMS[0], ask)
    del points["loyaltyId"], points["cumulativePurchases"]
    return points | {"userGroup2Id": identity, "pointsContributionToGroup": customer.number(0)}
