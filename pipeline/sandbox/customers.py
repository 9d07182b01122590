"""A customer's facts from an ID, a day and a seed alone: nothing is stored, so a base of any size costs
nothing, and the same question on the same day gets the same bytes.

A customer's days are cut into periods of the customer's own length, with one visit on a drawn day in each. So
the number of visits up to any day is one division and one draw, and money that depends on that number only
changes on visit days."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum

from pipeline.sandbox.catalogue import ACCOUNTS, FIRST_NAMES, LAST_NAMES, PROGRAMS, ZONES, Program
from pipeline.sandbox.dice import Dice, topic, unit
from pipeline.sandbox.rawjson import float32_noise, java_double, raw, scientific

FIRST_ID = 300_000_000
ID_STEP = 7  # gaps between IDs, as in a sequence shared by many brands

FIRST_DAY = date(2026, 11, 1)
MOVING_DAYS = 60  # newcomers join, and some leave, within so many days from the base's first day

# Shares of the base. What is left lives an ordinary life.
_ABSENT, _MERGED, _DELETED, _PARTIAL, _NEWCOMER, _MERGES_LATER, _DELETED_LATER = (
    0.01, 0.005, 0.005, 0.01, 0.01, 0.002, 0.002,
)  # fmt: skip

# Days between two visits, and the share of customers: together 8 in 100 customers change on any day.
_VISIT_PERIODS = ((0.09, 2), (0.44, 14), (1.0, 60))
_TICK_PERIOD = 25  # promotions and expiry move the points of 4 in 100 more, without a visit
_MANY_ZEROS = 5_000
_RETURN_EVERY = 30  # this visit brings goods back: purchases fall

_FATE, _TRAITS, _VISIT, _TICK, _AMOUNT, _SHARE, _IDENTIFIERS = map(
    topic, ("fate", "traits", "visit", "tick", "amount", "share", "identifiers")
)


def customer_id(k: int) -> int:
    """The ID of the base's customer k."""
    return FIRST_ID + ID_STEP * k


def known_ids(n: int) -> range:
    """The IDs of a base of n customers, in order. Some of them the API won't know on a given day, as in
    life."""
    return range(FIRST_ID, customer_id(n), ID_STEP)


class Fate(Enum):
    """What becomes of an ID on a day."""

    REGULAR = "regular"
    PARTIAL = "partial"  # a warning, and a block missing
    ABSENT = "absent"
    MERGED = "merged"
    DELETED = "deleted"


@dataclass(frozen=True)
class Base:
    """Who there is: the size of the base and the seed that everything about it follows from. What a block is
    called is the API's affair, but stays as long as the base does."""

    customers: int
    seed: int
    first_day: date = FIRST_DAY
    group_block: str = "userGroup"  # what the block of user groups is called

    def number(self, customer: int) -> int | None:
        """k of an ID; None for an ID that isn't in the base."""
        k, rest = divmod(customer - FIRST_ID, ID_STEP)
        return k if rest == 0 and 0 <= k < self.customers else None

    def fate(self, k: int, day: date) -> Fate:
        """What becomes of customer k on a day."""
        draw = unit(self.seed, _FATE, k)
        for share, before, after in _LIVES:
            if draw < share:
                return after if before is after or day >= self._turn(k) else before
            draw -= share
        return Fate.REGULAR

    def survivor(self, k: int) -> int:
        """The customer that a merged one was merged into: the next whose life is ordinary on every day."""
        for step in range(1, self.customers):
            other = (k + step) % self.customers
            if unit(self.seed, _FATE, other) >= _UNUSUAL:
                return other
        return k

    def born(self, k: int) -> date:
        """The day from which customer k exists: for a newcomer, within the base's moving days; for others,
        years ago."""
        if self._is_newcomer(k):
            return self._turn(k)
        return self.first_day - timedelta(days=30 + int(2200 * unit(self.seed, _TRAITS, k, 1)))

    def _turn(self, k: int) -> date:
        """The day on which a customer's fate turns."""
        return self.first_day + timedelta(days=int(MOVING_DAYS * unit(self.seed, _FATE, k, 1)))

    def _is_newcomer(self, k: int) -> bool:
        draw = unit(self.seed, _FATE, k) - _ABSENT - _MERGED - _DELETED - _PARTIAL
        return 0 <= draw < _NEWCOMER


# (share of the base, fate before the customer's turn, fate from then on)
_LIVES = (
    (_ABSENT, Fate.ABSENT, Fate.ABSENT),
    (_MERGED, Fate.MERGED, Fate.MERGED),
    (_DELETED, Fate.DELETED, Fate.DELETED),
    (_PARTIAL, Fate.PARTIAL, Fate.PARTIAL),
    (_NEWCOMER, Fate.ABSENT, Fate.REGULAR),
    (_MERGES_LATER, Fate.REGULAR, Fate.MERGED),
    (_DELETED_LATER, Fate.REGULAR, Fate.DELETED),
)
_UNUSUAL = sum(share for share, _, _ in _LIVES)


@dataclass(frozen=True)
class Standing:
    """Where a customer stands in a programme. Amounts are in hundredths."""

    purchases: int
    lifetime: int
    redeemed: int
    expired: int
    returned: int
    adjusted: int
    tier: int

    @property
    def points(self) -> int:
        """What is left to spend; a cent below zero for a few."""
        return self.lifetime - self.redeemed - self.expired - self.returned + self.adjusted


@dataclass(frozen=True)
class Identifier:
    """One way to look a customer up."""

    type: str
    value: str


class Customer:
    """Customer k on a day: who it is, and how much life it has had. The blocks are written from this."""

    def __init__(self, base: Base, k: int, day: date) -> None:
        self.base = base
        self.k = k
        self.id = customer_id(k)
        self._standings: dict[int, Standing] = {}  # by programme, as far as asked for
        self._write_traits(self.dice(_TRAITS))
        self._live(day)

    def dice(self, about: int) -> Dice:
        """Draws about one side of this customer; the same on every day."""
        return Dice(self.base.seed, about, self.k)

    def _write_traits(self, dice: Dice) -> None:
        self.zone = dice.pick(ZONES)
        self.first_name = dice.pick(FIRST_NAMES)
        self.last_name = dice.pick(LAST_NAMES)
        self.is_loyal = not dice.chance(0.10)
        self.others = _other_sources(dice)  # (source, account) beside the store's own
        self.number_style = dice.unit()  # how this customer's numbers are written
        self.basket = 2_000 + dice.under(300_000)  # hundredths spent on a usual visit
        self.point_price = 10  # currency units that earn a point
        if dice.chance(0.03):
            self.basket *= _MANY_ZEROS  # a currency with many zeros
            self.point_price *= _MANY_ZEROS
        self.period = _visit_period(dice.unit())
        self.has_huge_debt = dice.chance(0.001)  # of purchases: an overflow of long ago
        self.programs = _programs(dice)
        self.card_count = 0 if dice.chance(0.7) else 1 + dice.under(2)
        self.owes_a_cent = dice.chance(0.005)  # all points are spent, and an adjustment took one cent more

    def _live(self, day: date) -> None:
        self.born = self.base.born(self.k)
        lived = day.toordinal() - self.born.toordinal()
        self.visits, visited = self._turns(_VISIT, self.period, lived)
        self.ticks, _ = self._turns(_TICK, _TICK_PERIOD, lived)
        self.last_visit = date.fromordinal(self.born.toordinal() + visited)
        self.purchases = self._purchases(self.visits)

    def _turns(self, kind: int, period: int, lived: int) -> tuple[int, int]:
        """How many turns of a kind have been, and how many days after birth the last was."""
        if lived < 0:
            return 0, 0
        whole, rest = divmod(lived, period)
        turn = int(period * unit(self.base.seed, kind, self.k, whole))
        if turn <= rest:
            return whole + 1, whole * period + turn
        if whole == 0:
            return 0, 0
        return whole, (whole - 1) * period + int(period * unit(self.base.seed, kind, self.k, whole - 1))

    def _purchases(self, visits: int) -> int:
        """Grows with every visit but those on which goods come back."""
        wiggle = unit(self.base.seed, _AMOUNT, self.k, visits) * 0.9
        if visits % _RETURN_EVERY == _RETURN_EVERY - 1:
            wiggle -= 1.5
        return max(0, int((visits + wiggle) * self.basket)) if visits else 0

    def standing(self, program: Program) -> Standing:
        """Where this customer stands in one of its programmes today."""
        found = self._standings.get(program.id)
        if found is None:
            found = self._standings[program.id] = self._standing(program)
        return found

    def _standing(self, program: Program) -> Standing:
        share = (
            1.0 if program is PROGRAMS[0] else 0.05 + 0.35 * unit(self.base.seed, _SHARE, self.k, program.id)
        )
        purchases = int(self.purchases * share)
        lifetime = purchases // self.point_price + 500 * self.ticks
        settled = int(self._purchases(self.visits - self.visits % 4) * share)
        expired = 200 * self.ticks
        returned = int((self.visits // _RETURN_EVERY) * self.basket * share) // (2 * self.point_price)
        redeemed = min(lifetime, settled // self.point_price) * 6 // 10
        return Standing(
            purchases=purchases,
            lifetime=lifetime,
            redeemed=lifetime - expired - returned if self.owes_a_cent else redeemed,
            expired=expired,
            returned=returned,
            adjusted=-1 if self.owes_a_cent else 0,
            tier=sum(purchases >= 100 * tier.threshold for tier in program.tiers) - 1,
        )

    def number(self, hundredths: int) -> int | float | str:
        """An amount the way this customer's system writes it: 230, 24000.0, 0.000, 1100.2139892578125,
        1.2E4."""
        value = hundredths / 100
        if self.number_style < 0.90:
            return java_double(value)
        if self.number_style < 0.95:
            return hundredths // 100 if hundredths % 100 == 0 else value
        if self.number_style < 0.97:
            return raw(f"{value:.3f}")
        return scientific(value) if self.number_style < 0.98 else float32_noise(value)

    def at(self, day: date, about: int) -> str:
        """A moment of a day, as text in this customer's zone; which moment depends on what it is about."""
        second = int(86_400 * unit(self.base.seed, about, self.k, day.toordinal()))
        return f"{day}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{self.zone}"

    def identifiers(self, source: str) -> list[Identifier]:
        """What looks this customer up, by the source that holds it. Every value ends in k, so that the lookup
        can find its way back."""
        return _instore_identifiers(self) if source == "INSTORE" else _other_identifiers(self, source)


def _visit_period(draw: float) -> int:
    return next(period for share, period in _VISIT_PERIODS if draw < share)


def _other_sources(dice: Dice) -> tuple[tuple[str, str], ...]:
    if not dice.chance(0.15):
        return ()
    names = list(ACCOUNTS)
    start = dice.under(len(names))
    count = 2 if dice.chance(0.3) else 1
    return tuple(
        (name, dice.pick(ACCOUNTS[name])) for name in (names[(start + n) % len(names)] for n in range(count))
    )


def _programs(dice: Dice) -> tuple[Program, ...]:
    return (PROGRAMS[0], *(program for program in PROGRAMS[1:] if dice.chance(0.25)))


def _instore_identifiers(customer: Customer) -> list[Identifier]:
    k, dice = customer.k, customer.dice(_IDENTIFIERS)
    name = customer.first_name
    local = name.lower() if name.isascii() and name.isalpha() else "guest"
    mail = f"{local}.{k}@example.{'com' if dice.chance(0.8) else 'org'}"
    found = [Identifier("mobile", f"999{k:09d}")]
    if dice.chance(0.7):
        found.append(Identifier("email", mail))
    if dice.chance(0.5):
        found.append(Identifier("externalId", f"EXT{k:09d}"))
    return found + [
        Identifier("cardnumber" if dice.chance(0.3) else "cardNumber", f"77{card}{k:09d}")
        for card in range(customer.card_count)
    ]


def _other_identifiers(customer: Customer, source: str) -> list[Identifier]:
    k = customer.k
    if source == "WECHAT":
        return [Identifier("wechat", f"oFAKE{k:09d}"), Identifier("unionId", f"uFAKE{k:09d}")]
    if source == "LINE":
        return [Identifier("line", f"Uline{k:09d}")]
    if source == "MARTJACK":
        return [Identifier("martjackId", f"{k:09d}"), Identifier("email", f"guest.{k}@example.org")]
    return [Identifier("cuid", f"cuid_{k:09d}")]
