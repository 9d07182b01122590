"""From an identifier back to its customer. Every identifier ends in the customer's number, so no index is
kept."""

import re
from collections.abc import Mapping
from datetime import date

from pipeline.sandbox.answers import NOT_FOUND, Answer, errors
from pipeline.sandbox.catalogue import ACCOUNTS
from pipeline.sandbox.customers import Base, Customer, customer_id

_NUMBER_AT_END = re.compile(r"(\d{1,9})(?:@example\.(?:com|org))?$", re.ASCII)


def find_customer(base: Base, day: date, fields: Mapping[str, str]) -> int | Answer:
    """k of the customer that the query's identifiers name, or what the API says when they name none.

    With several identifiers (comma lists), all have to name the same customer."""
    names, values = fields.get("identifierName", ""), fields.get("identifierValue", "")
    if not names:
        return errors(8092, "Identifier type is not passed")
    if not values:
        return errors(8093, "Identifier value is not passed")
    pairs = list(zip(names.split(","), values.split(","), strict=False))
    found = {_number(base, day, name, value) for name, value in pairs}
    k = found.pop()
    return NOT_FOUND if k is None or found else k


def _number(base: Base, day: date, name: str, value: str) -> int | None:
    name = name.strip().lower()
    if name == "id":
        return base.number(int(value)) if re.fullmatch(r"\d{1,18}", value, re.ASCII) else None
    match = _NUMBER_AT_END.search(value)
    k = base.number(customer_id(int(match[1]))) if match else None
    return k if k is not None and (name, value.lower()) in _identifiers(Customer(base, k, day)) else None


def _identifiers(customer: Customer) -> set[tuple[str, str]]:
    places = ["INSTORE", *(source for source, _ in customer.others if source in ACCOUNTS)]
    found = {(one.type.lower(), one.value.lower()) for place in places for one in customer.identifiers(place)}
    return found | {
        ("cardexternalid", f"cx-{4_000_000 + 10 * customer.k + card}") for card in range(customer.card_count)
    }
