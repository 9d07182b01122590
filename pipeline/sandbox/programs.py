"""Programmes: pointsSummary, loyaltyProgramDetails with the gaps to the next and the present tier, their old
dump."""

from datetime import date, timedelta

from pipeline.sandbox.ask import Ask
from pipeline.sandbox.catalogue import PROGRAMS, TRACKERS, Program
from pipeline.sandbox.customers import Customer, Standing
from pipeline.sandbox.dice import Dice, topic
from pipeline.sandbox.rawjson import Document, raw

_PROGRAM, _POINTS, _GROUP_PROGRAM = map(topic, ("program", "points", "group program"))
_HUGE_DEBT = raw("-1.1996371E9")  # seen in this one field only, and rarely
_FAR_YEAR = 2116  # tiers that never expire end a hundred years after they began


def points_summary(customer: Customer) -> Document:
    """`pointsSummary`: the default programme only."""
    dice = customer.dice(_POINTS)
    program = PROGRAMS[0]
    standing = customer.standing(program)
    summary = _amounts(customer, standing) | _tier(customer, program, standing, dice)
    if dice.chance(0.9):
        summary |= _late_amounts(customer, standing)
    if dice.chance(0.1):
        del summary["programId"]
    return summary


def loyalty_programs(customer: Customer, ask: Ask) -> list[Document]:
    """`loyaltyProgramDetails`: one per programme the customer is in."""
    return [program_details(customer, program, ask) for program in customer.programs]


def program_details(customer: Customer, program: Program, ask: Ask) -> Document:
    """A customer's standing in one programme."""
    standing = customer.standing(program)
    dice = customer.dice(_PROGRAM + program.id)
    details = _amounts(customer, standing) | _tier(customer, program, standing, dice)
    if dice.chance(0.9):
        details |= _late_amounts(customer, standing)
    details |= {
        "linkedPartnerPrograms": _partners(customer, dice),
        "programTitle": program.title,
        "programDescription": program.description,
        "programPointsToCurrencyRatio": 1.0,
    }
    if dice.chance(0.002):
        details["tierBenefitsV2"] = [{"code": "lounge", "left": 2, "valid": {"until": "2125-01-01"}}]
    _add_gaps(details, customer, program, standing, ask)
    return details


def _amounts(customer: Customer, standing: Standing) -> Document:
    number = customer.number
    return {
        "redeemed": number(standing.redeemed),
        "expired": number(standing.expired),
        "returned": number(standing.returned),
        "adjusted": number(standing.adjusted),
        "lifetimePoints": number(standing.lifetime),
        "loyaltyPoints": number(standing.points),
        "cumulativePurchases": _HUGE_DEBT if customer.has_huge_debt else number(standing.purchases),
        "loyaltyId": 52_000_000 + customer.k,
    }


def _late_amounts(customer: Customer, standing: Standing) -> Document:
    """The fields that newer replies have and older ones lack."""
    return {
        "delayedPoints": customer.number(0),
        "delayedReturnedPoints": customer.number(0),
        "delayedExpiredPoints": customer.number(0),
        "totalAvailablePoints": customer.number(standing.points),
        "totalReturnedPoints": customer.number(standing.returned),
    }


def _tier(customer: Customer, program: Program, standing: Standing, dice: Dice) -> Document:
    tier = program.tiers[standing.tier]
    following = program.tiers[standing.tier + 1] if standing.tier + 1 < len(program.tiers) else None
    serial = standing.tier + 2 if following and not dice.chance(0.05) else -1
    found: Document = {"currentSlab": tier.name}
    if dice.chance(0.7):
        found["currentSlabDescription"] = tier.description
    return found | {
        "nextSlab": following.name if following else "",
        "nextSlabSerialNumber": serial,
        "nextSlabDescription": following.description if following else "",
        "slabSNo": standing.tier + 1,
        "slabExpiryDate": f"{_tier_end(customer, standing)}T23:59:59{customer.zone}",
        "programId": program.id,
    }


def _tier_end(customer: Customer, standing: Standing) -> date:
    """The base tier never ends; the others a year after the last visit."""
    if standing.tier == 0:
        return date(_FAR_YEAR + customer.k % 10, 12, 29)
    return customer.last_visit + timedelta(days=365)


def _partners(customer: Customer, dice: Dice) -> list[Document]:
    if not dice.chance(0.1):
        return []
    partner: Document = {
        "partnerProgramId": 5,
        "partnerProgramName": "Blue Sky Miles",
        "partnerProgramDescription": "Blue Sky Miles",
        "partnerMembershipId": f"8{customer.k:011d}",
        "partnerProgramType": dice.pick(("EXTERNAL", "SUPPLEMENTARY")),
        "tierBased": dice.chance(0.5),
    }
    if partner["tierBased"]:
        partner |= {
            "partnerTierNumber": 1,
            "partnerTierName": "Azure",
            "partnerTierExpiryDate": f"2028-12-29T23:59:59{customer.zone}",
        }
    return [partner]


# -- gaps ----------------------------------------------------------------------------------------------


def _add_gaps(details: Document, customer: Customer, program: Program, standing: Standing, ask: Ask) -> None:
    """The two gap blocks, in the shapes seen: mostly as documented, sometimes an object where a list is usual
    and the other way round."""
    if not ask.wants("mlp"):
        return
    dice = customer.dice(_PROGRAM + program.id + 1)
    if ask.gap_to_upgrade is not None:
        strategies = upgrade_strategies(customer, program, standing, dice)
        is_object = dice.chance(0.03) and len(strategies) == 1
        details["upgradeStrategies"] = strategies[0] if is_object else strategies
    if ask.gap_to_renew is not None and standing.tier > 0:
        summary = _renewal(customer, program, standing, dice)
        details["gapToRenewSummary"] = [summary] if dice.chance(0.03) else summary


def upgrade_strategies(
    customer: Customer, program: Program, standing: Standing, dice: Dice
) -> list[Document]:
    """What is missing to the next tier; nothing at the top."""
    if standing.tier + 1 >= len(program.tiers):
        return []
    threshold = 100 * program.tiers[standing.tier + 1].threshold
    strategy: Document = {
        "upgrade_based_on" if dice.chance(0.05) else "upgradeBasedOn": program.upgrade_on,
        "upgradeThreshold": threshold / 100,
        "customerUpgradeEntityValues": {
            "currentValue": customer.number(standing.purchases),
            "gapToUpgrade": customer.number(threshold - standing.purchases),
            "valueValidUpto": str(_tier_end(customer, standing)),
        },
    }
    if program.upgrade_on == "TRACKER_VALUE_BASED":
        key = "upgradeEntityIdentifiers" if dice.chance(0.5) else "trackerEntityIdentifiers"
        strategy[key] = [_tracker(number) for number in range(1 + dice.under(3))]
    if dice.chance(0.05):
        _leak_thrift(strategy)
    if dice.chance(0.02):
        strategy["upgradeThreshold"] = str(threshold // 100)
    return [strategy]


def _leak_thrift(strategy: Document) -> None:
    """The `setX` booleans of old replies, at both depths."""
    values = strategy["customerUpgradeEntityValues"]
    if isinstance(values, dict):
        values |= {"setCurrentValue": True, "setGapToUpgrade": True, "setValueValidUpto": True}
    strategy |= {
        "setUpgradeBasedOn": True,
        "setUpgradeEntityIdentifiers": False,
        "setUpgradeThreshold": True,
        "setCustomerUpgradeEntityValues": True,
    }


def _tracker(number: int) -> Document:
    name, kind, mode, period, length = TRACKERS[number]
    return {
        "trackerName": name,
        "trackerType": kind,
        "trackerMode": mode,
        "trackerCaseName": f"case {number + 1}",
        "trackerCasePeriodType": period,
        "trackerCasePeriodValue": length,
    }


def _renewal(customer: Customer, program: Program, standing: Standing, dice: Dice) -> Document:
    confirmed = customer.visits % 3 == 0
    summary: Document = {
        "tierExpiryDate": str(_tier_end(customer, standing)),
        "renewConfirmed": str(confirmed).lower() if dice.chance(0.02) else confirmed,
        "renewStrategies": [],
    }
    if dice.chance(0.2):
        return summary
    threshold = 50 * program.tiers[standing.tier].threshold
    done = threshold if confirmed else threshold * (customer.visits % 10) // 10
    strategy: Document = {
        "renewBasedOn": program.renew_on,
        "renewThreshold": threshold / 100,
        "customerRenewEntityValue": customer.number(done),
        "customerGapToRenewValue": customer.number(threshold - done),
    }
    if program.renew_on == "TRACKER":
        strategy["trackerEntityIdentifiers"] = [_tracker(0)]
    summary["renewStrategies"] = [strategy]
    return summary


def gap_details(customer: Customer) -> list[Document]:
    """The deprecated `gapDetails`: the same as upgradeStrategies, as an old Thrift dump."""
    dice = customer.dice(_PROGRAM + 2)
    strategies = upgrade_strategies(customer, PROGRAMS[0], customer.standing(PROGRAMS[0]), dice)
    for strategy in strategies:
        _leak_thrift(strategy)
    return strategies


def group_programs(customer: Customer) -> list[Document]:
    """`groupLoyaltyProgramDetails`: one per group programme, with the programmes it spans."""
    return [
        {
            "groupProgramId": program.id,
            "title": program.title,
            "description": program.description,
            "programsList": [
                {"id": one.id, "name": one.title, "description": one.description} for one in PROGRAMS
            ],
            "lifetimePoints": customer.number(customer.standing(program).lifetime),
            "loyaltyPoints": customer.number(customer.standing(program).points),
            "promisedPoints": customer.number(0),
            "pointsToCurrencyRatio": 1.0,
        }
        for program in customer.programs
        if program.is_group
    ]
