"""A whole answer for one ID: its fate, the shell, the asked blocks, and the oddities that touch the body as a
whole."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from pipeline.sandbox import shell
from pipeline.sandbox.answers import DELETED, NOT_FOUND, Answer, errors, note
from pipeline.sandbox.ask import Ask, parse_ask
from pipeline.sandbox.blocks import BY_EMBED, add_fraud, add_new_flags
from pipeline.sandbox.customers import Base, Customer, Fate
from pipeline.sandbox.dice import Dice, topic, unit
from pipeline.sandbox.rawjson import Document, dumps

_BODY, _WRAPPER, _PARTIAL, _HEALS, _TWICE = map(topic, ("body", "wrapper", "partial", "heals", "twice"))

# Top-level keys, and the share of bodies that lack them.
_OFTEN_ABSENT = (("associatedWith", 0.2), ("extendedFields", 0.03), ("cardDetails", 0.1), ("warnings", 0.05))

Change = Callable[[Document], None]


@dataclass(frozen=True)
class _Gap:
    """A way for an answer to be partial. It can strike only where one of `needs` was asked for."""

    code: int
    message: str
    needs: str
    lost: tuple[str, ...]
    wants_gaps: bool = False


_GAPS = (
    _Gap(8062, "Points details fetch failed", "points", ("pointsSummary",)),
    _Gap(8063, "Segmentation details fetch failed", "segments", ("segments",)),
    _Gap(8076, "Gap details missing", "mlp", ("upgradeStrategies", "gapToRenewSummary"), wants_gaps=True),
    _Gap(8088, "Customer status get failed", "customerstatus", ("statusLabel", "statusLabelReason")),
    _Gap(91001, "Points details call failed", "mlp", ("loyaltyProgramDetails", "groupLoyaltyProgramDetails")),
    _Gap(91002, "Subscription details call failed", "subscriptions", ("subscriptionInfo",)),
    _Gap(91004, "Segmentation call failed", "segments", ("segments",)),
    _Gap(91013, "Tier upgrade call failed", "mlp", ("upgradeStrategies",), wants_gaps=True),
    _Gap(91014, "Tier renewal call failed", "mlp", ("gapToRenewSummary",), wants_gaps=True),
)


def answer_for(
    base: Base, day: date, k: int | None, ask: Ask, asked_before: int, change: Change | None
) -> Answer:
    """The API's reply about customer k, with a fault's change on the body if there is one.

    `asked_before` is how many answers this customer has had today: half of the partial ones heal on the
    second."""
    if k is None:
        return NOT_FOUND
    fate = base.fate(k, day)
    if fate is Fate.ABSENT:
        return NOT_FOUND
    if fate is Fate.DELETED:
        return DELETED[int(unit(base.seed, _WRAPPER, k) * len(DELETED))]
    person = base.survivor(k) if fate is Fate.MERGED else k
    document = write_document(Customer(base, person, day), ask)
    if not document["profiles"]:
        return errors(8065, "Customer not found for the given source")
    if fate is Fate.MERGED:
        _warn(document, 8069, "Merged customer found")
    if fate is Fate.PARTIAL and not (asked_before and unit(base.seed, _HEALS, k) < 0.5):
        _lose_block(document, ask, Dice(base.seed, _PARTIAL, k))
    if change is not None:
        change(document)
    return Answer(200, _finish(dumps(document), base, person))


def write_body(customer: int, day: date, query: str, customers: int, seed: int = 1) -> bytes:
    """What a sandbox without faults sends on a customer's first call of the day; without a server."""
    ask = parse_ask(query, False, False)
    if isinstance(ask, Answer):
        return ask.body
    base = Base(customers, seed)
    return answer_for(base, day, base.number(customer), ask, 0, None).body


def write_document(customer: Customer, ask: Ask) -> Document:
    """The body as Python objects; nothing wrong with it yet."""
    document: Document = {
        "id": customer.id,
        "profiles": shell.profiles(customer, ask),
        "loyaltyInfo": shell.loyalty_info(customer),
        "segments": {},
        "associatedWith": "till.01",
        "extendedFields": shell.extended_fields(customer),
    }
    if not ask.wants("ignorecarddetails"):
        document["cardDetails"] = shell.cards(customer)
    for embed in sorted(ask.embeds):
        if embed in BY_EMBED:
            BY_EMBED[embed](document, customer, ask)
    if "includedFraudDetails" in ask.flags:
        add_fraud(document, customer, ask)
    add_new_flags(document, customer, ask)
    document["warnings"] = []
    _wear_out(document, customer.dice(_BODY))
    if ask.account_warning:
        _warn(document, 8054, "Account id is not passed")
    return document


def _wear_out(document: Document, dice: Dice) -> None:
    """Top-level keys that go missing, and new ones that nobody has announced."""
    for key, share in _OFTEN_ABSENT:
        if dice.chance(share):
            document.pop(key, None)
    if dice.chance(0.02):
        document["referralCode"] = dice.pick(("", "HARBOUR-7"))
    if dice.chance(0.002):
        document["id"] = str(document["id"])
    if dice.chance(0.003):
        document["preferencesV2"] = {"topics": ["tea", "茶"], "quietHours": {"from": "22:00", "to": None}}


def _warn(document: Document, code: int, message: str) -> None:
    warnings = document.setdefault("warnings", [])
    if isinstance(warnings, list):
        warnings.append(note(code, message))


def _lose_block(document: Document, ask: Ask, dice: Dice) -> None:
    asks_gaps = ask.gap_to_upgrade is not None or ask.gap_to_renew is not None
    gaps = [gap for gap in _GAPS if ask.wants(gap.needs) and (asks_gaps or not gap.wants_gaps)]
    if not gaps:
        return
    gap = dice.pick(gaps)
    _warn(document, gap.code, gap.message)
    if gap.code == 8063:
        # The key stays, and that is the trap: it isn't a customer without segments.
        document["segments"] = {}
        return
    for key in gap.lost:
        document.pop(key, None)
        for program in _programs(document):
            program.pop(key, None)


def _programs(document: Document) -> list[Document]:
    programs = document.get("loyaltyProgramDetails")
    if not isinstance(programs, list):
        return []
    return [program for program in programs if isinstance(program, dict)]


def _finish(body: bytes, base: Base, k: int) -> bytes:
    """A few bodies hold a key twice, as a merge of two serialisers leaves it. The last one is the right
    one."""
    if unit(base.seed, _TWICE, k) < 0.003:
        return b'{"extendedFields":{},' + body[1:]
    return body
