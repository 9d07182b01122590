"""The page in a real browser: drawn, quiet, and usable on a phone, in the dark and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.report import Status, page_of
from tests.report.chromium import browser, why_not
from tests.report.facts import night
from tests.report.test_page import hostile

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is a browser")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for all tests of this file."""
    with browser() as opened:
        yield opened


class Visit:
    """A page that was opened, and what the browser said of it."""

    def __init__(self, chromium: Any, html: str, folder: Path, **context: Any) -> None:
        path = folder / "report.html"
        path.write_text(html)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = chromium.new_page(**context)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.goto(path.as_uri())
        self.own = path.as_uri()

    def boxes(self, selector: str) -> list[dict[str, float]]:
        """Where the elements are drawn, in CSS pixels."""
        found: list[dict[str, float]] = self.page.eval_on_selector_all(
            selector, "all => all.map(one => one.getBoundingClientRect().toJSON())"
        )
        return found

    def style(self, selector: str, name: str) -> str:
        """A computed style."""
        return str(self.page.eval_on_selector(selector, f"one => getComputedStyle(one)['{name}']"))


def test_plots_are_drawn_nothing_is_asked_for_and_nothing_complains(chromium: Any, tmp_path: Path) -> None:
    """Every plot has a size and shapes inside it; no request but the page's own, no word on the console."""
    visit = Visit(chromium, page_of(night()), tmp_path, viewport={"width": 1100, "height": 900})
    assert visit.said == []
    assert visit.asked == [visit.own]
    areas = visit.boxes("#plot-calls .area, #plot-latency .area")
    assert len(areas) == 2
    assert all(area["width"] > 800 and area["height"] > 150 for area in areas)
    for shape in ("calls", "again", "quota"):
        (box,) = visit.boxes(f"#plot-calls .area path.{shape}")
        assert box["width"] > 700, shape
        assert areas[0]["top"] - 3 <= box["top"] <= box["bottom"] <= areas[0]["bottom"] + 3, shape
    assert all(
        box["width"] > 700 and box["height"] > 5 for box in visit.boxes("#plot-latency .area path[class^=p]")
    )
    assert visit.style("#plot-latency path.p50", "stroke") != "none"
    strips = visit.boxes("#plot-outcomes .strip svg path")
    assert len(strips) == 4
    assert all(box["height"] > 10 for box in strips)
    assert len(visit.boxes("svg.rows path")) == 6
    visit.page.close()


def test_labels_of_the_axes_do_not_run_into_each_other(chromium: Any, tmp_path: Path) -> None:
    """On a wide screen and on a narrow one, and none beyond the plot."""
    for width in (1100, 375):
        visit = Visit(chromium, page_of(night()), tmp_path, viewport={"width": width, "height": 800})
        for plot in ("#plot-calls", "#plot-latency", "#plot-outcomes"):
            boxes = [box for box in visit.boxes(f"{plot} .across span") if box["width"]]
            assert len(boxes) >= 2
            assert all(one["right"] < two["left"] for one, two in pairwise(boxes))
            assert boxes[-1]["right"] <= width
        visit.page.close()


def test_on_a_phone_nothing_is_wider_than_the_screen(chromium: Any, tmp_path: Path) -> None:
    """375 pixels: the page does not scroll sideways, wide tables do so by themselves; hostile words neither."""
    for name, facts in (("plain", night()), ("hostile", hostile())):
        visit = Visit(chromium, page_of(facts), tmp_path, viewport={"width": 375, "height": 800})
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 375, name
        assert visit.said == [], name
        visit.page.close()


def test_dark_mode_is_dark_and_printing_is_light(chromium: Any, tmp_path: Path) -> None:
    """The colours follow what the reader prefers."""
    visit = Visit(chromium, page_of(night()), tmp_path, color_scheme="dark")
    assert visit.style("body", "backgroundColor") == "rgb(16, 21, 27)"
    assert visit.style("body", "color") == "rgb(232, 236, 241)"
    visit.page.emulate_media(color_scheme="light")
    assert visit.style("body", "backgroundColor") == "rgb(246, 247, 249)"
    visit.page.emulate_media(media="print")
    assert visit.style("body", "backgroundColor") == "rgb(255, 255, 255)"
    assert visit.style("nav.parts", "display") == "none"
    visit.page.close()


def test_by_keyboard_everything_that_does_something_is_reached_in_order(
    chromium: Any, tmp_path: Path
) -> None:
    """The skip link is first; then links, commands, what folds and what scrolls, each with a ring around it."""
    visit = Visit(chromium, page_of(night()), tmp_path)
    wanted = visit.page.eval_on_selector_all(
        "a, summary, [tabindex='0']",
        "all => all.filter(one => !one.closest('details:not([open]) > :not(summary)')).length",
    )
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.className") == "skip"
    assert visit.boxes("a.skip")[0]["left"] >= 0
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("location.hash") == "#answers"
    assert visit.page.evaluate("document.activeElement.id") == "answers"
    visit.page.evaluate("document.activeElement.blur(); history.replaceState(null, '', location.pathname)")
    visit.page.reload()
    reached = 0
    while reached <= wanted:
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("document.activeElement === document.body"):
            break
        reached += 1
        assert (
            visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            or reached == 1
        )
    assert reached == wanted > 25
    visit.page.close()


def test_the_numbers_behind_a_plot_open_by_keyboard(chromium: Any, tmp_path: Path) -> None:
    """Enter on the summary shows the table, minute by minute."""
    visit = Visit(chromium, page_of(night()), tmp_path)
    visit.page.focus("#plot-calls summary")
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("#plot-calls table").is_visible()
    assert visit.page.locator("#plot-calls tbody tr").count() == 180
    visit.page.close()


def test_a_served_page_takes_over_what_is_new_and_leaves_open_what_was_open(
    chromium: Any, tmp_path: Path
) -> None:
    """A running night's page asks for itself again; it is answered from here, with one more answer."""
    first = page_of(night(status=Status.RUNNING), refresh_s=0.2)
    second = first.replace("Running</strong>", "Running on</strong>")
    assert first != second
    page = chromium.new_page()
    answered: list[str] = []

    def answer(route: Any) -> None:
        answered.append(route.request.url)
        route.fulfill(body=first if len(answered) == 1 else second, content_type="text/html")

    page.route("http://127.0.0.1:9/", answer)
    page.goto("http://127.0.0.1:9/")
    page.evaluate("document.querySelector('#plot-calls details').open = true")
    page.wait_for_function(
        "document.querySelector('.verdict strong').textContent === 'Running on'", timeout=5000
    )
    assert page.evaluate("document.querySelector('#plot-calls details').open")
    page.close()
