"""Whatever stands in an answer is found again: in a column, in `extra`, or in `rejects`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.blocks.collect import Collected
from pipeline.jsontext import Json, JsonFloat, UnreadableError, decode, dump
from tests.blocks.bodies import FULL, full
from tests.blocks.collecting import OURS, collect, rows_of

Path = tuple[str | int, ...]
SECRETS = {"filePath", "secureFilePath", "s3Token"}


def paths_of(value: Json, path: Path = ()) -> Iterator[Path]:
    """Every place in a document but the top."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in inner:
        yield (*path, name)
        yield from paths_of(child, (*path, name))


def replaced(path: Path, value: Json) -> dict[str, Any]:
    """The full body with another value in one place."""
    doc = full()
    holder: Any = doc
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    return doc


def scalars(value: Json) -> Iterator[Json]:
    """Every scalar of a document that says something, without the secrets."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in SECRETS:
                yield from scalars(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from scalars(inner)
    elif value is not None:
        yield value


def readings(scalar: Json) -> set[Any]:
    """The forms in which a scalar may be found again: its text, its number, its moment, its truth."""
    text = dump(scalar) if not isinstance(scalar, str) else str(scalar)
    found: set[Any] = {text}
    if text.lower() in ("true", "false"):
        found.add(("bool", text.lower() == "true"))
    if text.isascii() and "_" not in text and text == text.strip():
        try:
            exact = Decimal(text)
            found.add(("number", exact.normalize() if exact.is_finite() else text))
        except InvalidOperation:
            pass
    try:
        moment = datetime.fromisoformat(text)
        found.add(("time", moment.astimezone(UTC) if moment.tzinfo else moment))
    except (ValueError, OverflowError):
        pass
    return found


def exported(collected: Collected) -> set[Any]:
    """Every form of every value that was exported, and of those inside JSON texts."""
    found: set[Any] = set()
    for name in collected.batches:
        for row in rows_of(collected, name):
            for column, value in row.items():
                if column not in OURS and column != "body_hash":
                    found |= _forms(value)
    for reject in collected.rejects:
        found |= _forms(reject.raw)
    return found


def _forms(value: Any) -> set[Any]:
    if isinstance(value, bool):
        return {("bool", value)}
    if isinstance(value, int | Decimal):
        return {("number", Decimal(value).normalize())}
    if isinstance(value, date | datetime):
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001
        return {("time", moment)}
    if not isinstance(value, str):
        return set()
    found: set[Any] = {value}
    try:
        inside = decode(value.encode()).doc
    except UnreadableError:
        return found
    for scalar in scalars(inside):
        found |= readings(scalar)
    return found


def check_nothing_lost(doc: dict[str, Any]) -> None:
    """The customer has its row, and every scalar is found again."""
    wanted = list(scalars(doc))
    collected = collect(doc)
    assert collected.batches["customers"].num_rows == 1
    found = exported(collected)
    assert [scalar for scalar in wanted if not readings(scalar) & found] == []


PLACES = sorted(paths_of(FULL), key=str)


def test_full_body_is_found_again() -> None:
    """All of the invented body."""
    check_nothing_lost(full())


def marks_in(collected: Collected) -> set[str]:
    """The marks that were exported, in whatever form."""
    found = {mark for reject in collected.rejects for mark in MARK.findall(reject.raw)}
    for batch in collected.batches.values():
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name not in OURS:
                found.update(
                    *(MARK.findall(text or "") for text in column.cast(pa.string()).unique().to_pylist())
                )
    return found


MARK = re.compile(r"1\d{15}")
PER_COLLECT = 300


def check_marks(docs: list[dict[str, Any]], marks: list[str]) -> None:
    """Each document's mark is found again."""
    for start in range(0, len(docs), PER_COLLECT):
        found = marks_in(collect(*docs[start : start + PER_COLLECT]))
        assert [mark for mark in marks[start : start + PER_COLLECT] if mark not in found] == []


def test_a_mark_in_every_place_is_found_again() -> None:
    """A text, a number and both inside a list or an object, in each place of the body in turn."""
    places = [path for path in PLACES if not SECRETS & {*path}]
    docs: list[dict[str, Any]] = []
    marks: list[str] = []
    for path in places:
        for shape in (
            str,
            int,
            lambda digits: JsonFloat(digits + ".25"),
            lambda text: [text],
            lambda t: {"mark": t},
        ):
            marks.append(str(10**15 + len(marks)))
            docs.append(replaced(path, shape(marks[-1])))
    check_marks(docs, marks)


def test_an_unknown_key_in_every_object_is_found_again() -> None:
    """Also in objects that are known to be empty."""
    docs: list[dict[str, Any]] = []
    marks: list[str] = []
    for path in PLACES:
        holder: Any = FULL
        for name in path:
            holder = holder[name]
        if isinstance(holder, dict):
            marks.append(str(10**15 + len(marks)))
            docs.append(replaced(path, holder | {"surprise": marks[-1]}))
    check_marks(docs, marks)


NUMBERS = st.one_of(
    st.integers(),
    st.integers(min_value=-(10**35), max_value=10**35),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: JsonFloat(f"{number:E}")),
    st.decimals(allow_nan=False, allow_infinity=False, places=12).map(
        lambda number: JsonFloat(f"{number:f}")
    ),
)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "true", "FALSE", "5", "-1.25", "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01 00:00:00.0"]
    ),
    st.datetimes().map(str),
)
KEYS = st.one_of(
    st.text(max_size=6),
    st.sampled_from([*{name for path in PLACES for name in path if isinstance(name, str)} - SECRETS]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


def is_thrift_leak(value: Json) -> bool:
    """Whether a `setX` boolean stands anywhere in it: those are dropped by design."""
    if isinstance(value, dict):
        return any(key.startswith("set") for key in value) or any(map(is_thrift_leak, value.values()))
    return isinstance(value, list) and any(map(is_thrift_leak, value))


@given(path=st.sampled_from(PLACES), value=VALUES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_anything_anywhere_is_found_again(path: Path, value: Json) -> None:
    """Any JSON value in place of any part: no exception, no customer lost, no scalar lost."""
    if SECRETS & {*path} or is_thrift_leak(value):
        return
    doc = replaced(path, value)
    check_nothing_lost(decode(dump(doc).encode()).doc)


@given(doc=st.dictionaries(KEYS, VALUES, max_size=4))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_answer_is_found_again(doc: dict[str, Any]) -> None:
    """Any object as an answer."""
    if not is_thrift_leak(doc):
        check_nothing_lost(decode(dump(doc).encode()).doc)


@given(body=VALUES)
@settings(max_examples=100, deadline=None)
def test_any_body_is_survived(body: Json) -> None:
    """Whatever a body is, reading it raises nothing."""
    collect(body)


def test_deep_nesting_is_survived() -> None:
    """Hundreds of levels, far from any real answer, are kept as they are."""
    depth = 900
    body = b'{"profiles":[{"firstName":' + b"[" * depth + b'"deep"' + b"]" * depth + b"}]}"
    collected = collect(decode(body).doc)
    assert rows_of(collected, "profiles")[0]["extra"].count("[") == depth
    assert '"deep"' in collected.rejects[0].raw
