"""The page as a document: what is escaped, what is left out, and that it can be read without seeing it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import jinja2
import pytest

from pipeline.outcome import Outcome
from pipeline.report import Status, page_of
from pipeline.report import page as page_room
from pipeline.report.facts import Before, Drift, Facts, ReasonCount, Series
from pipeline.store.snapshots import ManifestCheck
from tests.report.facts import BEGAN, NIGHT, night, series
from tests.report.reading import Element, answers, read, verdict

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}</style></title>"
PATHS = [
    f"profiles[].{HOSTILE}",
    "x" * 100_000,
    "identifiers[].ravi.kumar@example.com",
    "byId.387020208.name",
    "right\u202eto\u2066left\x00\x1b[31m",
]


def hostile() -> Facts:
    """Everything that comes from outside, as bad as it can be."""
    return night(
        status=Status.HELD,
        reason=HOSTILE,
        config=HOSTILE,
        export=HOSTILE,
        snapshot="2026-11-23T223107Z",
        live=HOSTILE,
        forced_reason=HOSTILE,
        checks=[
            ManifestCheck(name=HOSTILE, passed=False, detail=HOSTILE, value=float("inf"), band=[None, 1.0])
        ],
        unknown_fields=[Drift(path, HOSTILE, 3) for path in PATHS],
        rejects=[Drift(HOSTILE, HOSTILE, 1)],
        rejected_rows=[Drift(HOSTILE, HOSTILE, 1)],
        reasons=[ReasonCount(Outcome.FAILED, 500, 2, HOSTILE), ReasonCount(Outcome.FAILED, -99, 1, "")],
        rows={HOSTILE: 3},
        before=[Before(NIGHT - timedelta(days=1), HOSTILE, {HOSTILE: 1}, {}, 0)],
        missing=[HOSTILE],
    )


def test_nothing_from_outside_becomes_markup() -> None:
    """Reasons, paths, names, whatever they hold: they are text, and the page stays whole."""
    html = page_of(hostile())
    page = read(html)
    assert not page.every("script")
    assert not page.every("img")
    assert len(page.every("style")) == len(page.every("title")) - len(page.by_class("hint")) - 2 == 1
    assert "49" not in page.by_id("drift").text.replace("7*7", "")
    assert "<script>alert(1)</script>" in page.by_id("drift").text


def test_what_may_be_a_customers_is_masked_and_long_texts_are_cut() -> None:
    """Addresses and long numbers in paths are not for a page that is mailed around; nor 100,000 letters."""
    html = page_of(hostile())
    assert "ravi" not in html
    assert "387020208" not in html
    assert "x" * 301 not in html
    assert not re.search("[\u202e\u2066\x00\x1b]", html)


def test_snapshot_names_and_amounts_are_not_taken_for_customers() -> None:
    """A mask that hides the page's own words would be no help."""
    said = page_of(
        night(
            status=Status.STOPPED,
            reason="Cannot write /srv/export/snapshots/2026-11-23T223107Z: 12,345,678 bytes, 1234567.5 left.",
        )
    )
    assert "snapshots/2026-11-23T223107Z: 12,345,678 bytes, 1234567.5 left." in verdict(said)


@pytest.fixture(scope="module")
def page() -> Element:
    """A page with a little of everything."""
    return read(page_of(night()))


def test_ids_are_unique_and_every_link_leads_somewhere(page: Element) -> None:
    """Skip link, contents, details: all stay on this page."""
    ids = page.ids()
    assert len(ids) == len(set(ids))
    targets = [one.attributes["href"] for one in page.every("a")]
    assert targets[0] == "#answers"
    assert all(target.startswith("#") and target[1:] in ids for target in targets)


def test_headings_go_down_one_step_at_a_time(page: Element) -> None:
    """One h1; whoever goes by headings misses nothing."""
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", page_of(night()))]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_landmarks_name_the_parts(page: Element) -> None:
    """Header, navigation, main, footer; each section by its heading."""
    assert [len(page.every(tag)) for tag in ("header", "main", "footer", "nav")] == [1, 1, 1, 1]
    ids = page.ids()
    assert all(one.attributes["aria-labelledby"] in ids for one in page.every("section"))
    assert page.every("html")[0].attributes["lang"] == "en"


def test_every_drawing_has_a_name_and_its_numbers(page: Element) -> None:
    """An svg is an image with a name, or hidden; each plot has a table behind it."""
    for svg in page.every("svg"):
        if svg.attributes.get("aria-hidden") == "true":
            continue
        assert svg.attributes["role"] == "img"
        names = svg.attributes.get("aria-labelledby", "").split()
        assert svg.attributes.get("aria-label") or all(page.by_id(name) for name in names)
    for figure in page.every("figure"):
        rows = figure.every("details")[0].every("tr")
        assert len(rows) == 181


def test_every_table_has_a_caption_and_scopes(page: Element) -> None:
    """A screen reader says what a cell is of."""
    for table in page.every("table"):
        assert table.every("caption")[0].text
        assert all(head.attributes["scope"] in ("col", "row") for head in table.every("th"))


def test_what_scrolls_can_be_reached_by_keyboard(page: Element) -> None:
    """A region that scrolls can be focused, and has a name."""
    for region in page.by_class("scroll"):
        assert region.attributes["tabindex"] == "0"
        assert region.attributes["aria-label"]


def test_failures_come_first_each_with_its_next_command(page: Element) -> None:
    """By class: what it is, how many, what to run."""
    rows = [[cell.text for cell in row.every("td")] for row in page.by_id("failures").every("tr")[1:]]
    kinds = [row.every("th")[0].text for row in page.by_id("failures").every("tr")[1:]]
    assert kinds == [
        "failed",
        "failed",
        "partial",
        "absent",
        "merged",
        "deleted",
        "call made again",
        "call made again",
    ]
    assert rows[0][:2] == ["38", "no answer within 30 s (-2)"]
    assert rows[0][2].endswith("capillary-export run nightly.yaml")
    assert rows[1][2].endswith("capillary-export rebuild nightly.yaml --night 2026-11-24")
    assert "capillary-export csv outcomes --snapshot ./export" in rows[3][2]
    assert "capillary-export plan nightly.yaml --set quota.reserved_share=0.1" in rows[-1][2]


def test_a_check_that_is_out_shows_its_number_and_its_band(page: Element) -> None:
    """How far out, at a glance."""
    row = page.by_id("checks").every("tr")[1]
    assert [cell.text for cell in row.every("td")] == [
        "warns",
        "0.041",
        "0 – 0.03",
        "4.1 % of the rows changed",
    ]


def test_a_night_of_three_days_stays_small() -> None:
    """However long: bounded slots, bounded kinds."""
    many = [Drift(f"profiles[].field{one}", "string", 1) for one in range(2000)]
    html = page_of(night(unknown_fields=many, rejects=many, rejected_rows=many, series=series(180)))
    assert len(html.encode()) < 400_000
    assert "And 1,975 more kinds." in read(html).by_id("drift").text


def test_throttling_is_called_the_apis_limit() -> None:
    """429s in numbers say that our own limit is too high."""
    facts = night()
    facts = replace(facts, spent=replace(facts.spent, throttled=9_000))
    assert answers(page_of(facts))["Is the quota the limit?"].startswith(
        "Yes, the API's own, which is lower than ours."
    )


def test_a_night_held_back_by_its_calls_in_flight_is_told_so() -> None:
    """Little's law in words: too few calls at once for such a latency."""
    facts = night()
    slow = replace(facts.spent, allowed=400_000.0, latency_ms=9_000.0, throttled=0)
    said = answers(page_of(replace(facts, spent=slow)))["Is the quota the limit?"]
    assert "64 calls in flight at 9.0 s let through 427 a minute: raise quota.max_in_flight." in said


def test_a_night_without_calls_draws_nothing() -> None:
    """And says so, instead of an empty plot."""
    html = page_of(
        night(series=Series(), slowest=Series(), reasons=[], status=Status.STOPPED, reason="No IDs.")
    )
    assert not read(html).every("figure")
    assert "There is nothing to draw" in read(html).by_id("calls").text


def test_the_pages_clock_is_the_windows() -> None:
    """Whoever reads it in Kolkata sees Kolkata's hours, whatever the machine's zone."""
    found = answers(page_of(night()))
    assert found["Did it publish?"].startswith("Yes at 04:01.")
    assert found["When will tonight end?"].startswith(
        "At Wed 25 Nov 2026, 05:30, 4 h 30 min after it begins."
    )
    assert BEGAN.hour == 19


def test_only_a_served_page_has_a_script() -> None:
    """The file needs none; one that is served asks for itself again."""
    assert "<script>" not in page_of(night())
    assert "setInterval(again, 5000)" in page_of(night(status=Status.RUNNING), refresh_s=5)


CONTRASTS = [
    (text, ground)
    for ground in ("page", "card")
    for text in ("ink", "soft", "link", "good", "warn", "bad", "busy")
] + [(tone, f"{tone}-bg") for tone in ("good", "warn", "bad", "busy")]
GRAPHICS = [
    "calls",
    "again",
    "quota",
    "p50",
    "p95",
    "p99",
    "exported",
    "partial",
    "absent",
    "deleted",
    "merged",
    "failed",
]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_have_the_contrast_that_wcag_wants(mode: str) -> None:
    """4.5 to 1 for text, 3 to 1 for what is drawn, in both modes."""
    css = page_of(night()).split("<style>")[1]
    blocks = css.split("@media (prefers-color-scheme: dark)")
    colours = dict(
        re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", blocks[0 if mode == "light" else 1].split("* {")[0])
    )
    for text, ground in CONTRASTS:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["ink"], colours["code"]) >= 4.5
    for drawn in GRAPHICS:
        assert contrast(colours[drawn], colours["card"]) >= 3, drawn


def contrast(one: str, other: str) -> float:
    """As WCAG 2 computes it."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_templates_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next process finds what this one compiled; one that may not write has the same page all the same."""
    written = page_of(night())
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    for folder in (tmp_path / "nowhere", tmp_path, tmp_path):
        monkeypatch.setattr(page_room, "_TEMPLATES", page_room.templates(folder))
        assert page_of(night()) == written
        if any(tmp_path.iterdir()):
            monkeypatch.setattr(jinja2.Environment, "_parse", None)
    assert {path.suffix for path in tmp_path.iterdir()} == {".pyc"}
