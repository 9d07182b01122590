"""Numbers, shares, spans and moments as people read them; and texts from outside, made fit to be shown."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

MOST_CHARS = 300
_LONG_NUMBER = re.compile(r"(?<!\d)(?<!\d[.,])\d{7,}(?!\d|[.,]\d)")
_ADDRESS = re.compile(r"[^\s@\"'<>]+@[^\s@\"'<>]+")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def count(number: float) -> str:
    """12,345"""
    return "no limit" if math.isinf(number) else f"{number:,.0f}"


def of_things(number: float, one: str, many: str = "") -> str:
    """1 call, 2 calls."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def share(part: float, whole: float) -> str:
    """12.3 %; never 100 % or 0 % of what is nearly so."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 99.95 <= percent < 100:
        return "over 99.9\u00a0%"
    if 0 < percent < 0.05:
        return "under 0.1\u00a0%"
    return f"{percent:.0f}\u00a0%" if percent in (0, 100) else f"{percent:.1f}\u00a0%"


def change(now: float, before: float) -> str:
    """+12, −3, or ±0."""
    more = now - before
    return "±0" if not more else f"{'+' if more > 0 else '−'}{abs(more):,.0f}"


def span(seconds: float) -> str:
    """So long, in the two units that people would use."""
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min" if minutes else f"{hours} h"
    return f"{hours / 24:.1f} days"


def latency(milliseconds: float | None) -> str:
    """87 ms, 1.2 s."""
    if milliseconds is None:
        return "–"
    if milliseconds < 9.95:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def size(amount: float) -> str:
    """As large as that, in powers of ten."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= factor:
            return f"{amount / factor:.1f} {unit}"
    return f"{amount:.0f} bytes"


def nights_ago(days: int) -> str:
    """this night, 1 night, 12 nights."""
    return "from this night" if days <= 0 else of_things(days, "night") + " old"


class Clock:
    """Moments by one zone's clock: the window's, or the machine's."""

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone) if zone else None
        self.name = zone or "the machine's time"

    def local(self, moment: datetime) -> datetime:
        """By that clock."""
        return moment.astimezone(self._zone)

    def time(self, moment: datetime, slot_s: int = 60) -> str:
        """04:12, with seconds where slots are short."""
        return self.local(moment).strftime("%H:%M" if slot_s >= 60 else "%H:%M:%S")

    def moment(self, moment: datetime, near: date | None = None) -> str:
        """04:12, with its day where that is not `near`."""
        local = self.local(moment)
        return f"{local:%H:%M}" if near == local.date() else f"{day(local.date())}, {local:%H:%M}"


def day(one: date) -> str:
    """Tue 24 Nov 2026, whatever the machine's language."""
    names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return f"{names[one.weekday()]} {one.day} {months[one.month - 1]} {one.year}"


def shown(text: str, most: int = MOST_CHARS) -> str:
    """A text from outside: one line, bounded, without what may be a customer's number or address."""
    plain = _UNSEEN.sub(" ", text[: 4 * most])
    plain = _ADDRESS.sub("…@…", _LONG_NUMBER.sub("…", plain))
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def marked(text: str) -> Markup:
    """A sentence of our own, escaped; what stands between backticks becomes code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before
