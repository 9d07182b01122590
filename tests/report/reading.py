"""The page as a person reads it: its text, and the answer under each question."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

EMPTY = frozenset({"meta", "link", "br", "path", "rect"})
UNSEEN = frozenset({"style", "script", "title", "desc"})


@dataclass
class Element:
    """An element, its attributes, what is in it."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def every(self, tag: str) -> list[Element]:
        """All elements of that name inside, in order."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                found += ([child] if child.tag == tag else []) + child.every(tag)
        return found

    def by_class(self, name: str) -> list[Element]:
        """All elements of that class inside."""
        inside = [child for child in self.children if isinstance(child, Element)]
        own = [child for child in inside if name in child.attributes.get("class", "").split()]
        return [*own, *(one for child in inside for one in child.by_class(name))]

    def by_id(self, name: str) -> Element:
        """The one element with that id."""
        found = [one for one in self._all() if one.attributes.get("id") == name]
        assert len(found) == 1, (name, found)
        return found[0]

    def _all(self) -> list[Element]:
        inside = [child for child in self.children if isinstance(child, Element)]
        return [self, *(one for child in inside for one in child._all())]

    def ids(self) -> list[str]:
        """Every id in it."""
        return [one.attributes["id"] for one in self._all() if "id" in one.attributes]

    @property
    def text(self) -> str:
        """What is to be read, on one line."""
        said = " ".join(
            child if isinstance(child, str) else child.text
            for child in self.children
            if isinstance(child, str) or child.tag not in UNSEEN
        )
        return re.sub(r"\s+", " ", said).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in EMPTY:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop().tag == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(html: str) -> Element:
    """The page. Every element is closed where it should be."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.open) == 1, [one.tag for one in reader.open]
    return reader.open[0]


def answers(html: str) -> dict[str, str]:
    """What the page answers, by question."""
    return {
        one.every("h3")[0].text: " ".join(part.text for part in one.every("p"))
        for one in read(html).by_class("question")
    }


def verdict(html: str) -> str:
    """The first thing on the page."""
    return read(html).by_class("verdict")[0].text
