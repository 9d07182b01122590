"""Raw values into typed columns: exact, and nothing guessed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.blocks.base import Kind
from pipeline.blocks.fit import ARROW_TYPES, Fitted, fit, offsets
from pipeline.jsontext import JsonFloat

KOLKATA = ZoneInfo("Asia/Kolkata")
NEW_YORK = ZoneInfo("America/New_York")


def number(text: str) -> JsonFloat:
    """A number as the decoder gives it."""
    return JsonFloat(text)


def fit_one(kind: Kind, raw: Any, zone: ZoneInfo | None = None) -> tuple[Any, list[str]]:
    """One value and the reasons against it; read alone and beside values of other types, with the same result."""
    alone = fit(kind, [raw], zone)
    mixed = fit(kind, [None, raw, "", ["odd"]], zone)
    value, reasons = alone.array[0].as_py(), [misfit.reason for misfit in alone.misfits]
    assert mixed.array[1].as_py() == value
    assert [misfit.reason for misfit in mixed.misfits if misfit.row == 1] == reasons
    return value, reasons


def values(fitted: Fitted) -> list[Any]:
    """The typed values."""
    return fitted.array.to_pylist()


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (230, "230"),
        (0, "0"),
        (-7, "-7"),
        (number("24000.0"), "24000"),
        (number("0.000"), "0"),
        (number("331.9"), "331.9"),
        (number("-0.0"), "0"),
        (number("-1.1996371E9"), "-1199637100"),
        (number("1e-9"), "0.000000001"),
        (number("1E28"), "1" + "0" * 28),
        (number("0E+999999999"), "0"),
        (number("12345678901234567890123456789.123456789"), "12345678901234567890123456789.123456789"),
        (12345678901234567890123456789, "12345678901234567890123456789"),
        ("25000", "25000"),
        ("-0.5", "-0.5"),
        ("1e3", "1000"),
    ],
)
def test_decimals_are_exact(raw: Any, wanted: str) -> None:
    """Whatever way the number was written, its digits arrive; no binary float in between."""
    assert fit_one(Kind.DECIMAL, raw) == (Decimal(wanted), [])


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("1100.2139892578125", "1100.213989258"),
        ("0.0000000005", "0"),
        ("0.0000000015", "0.000000002"),
        ("0.0000000025", "0.000000002"),
        ("-0.00000000250000001", "-0.000000003"),
        ("1E-400", "0"),
        ("99999999999999999999999999999.9999999994", "99999999999999999999999999999.999999999"),
    ],
)
def test_more_decimals_are_rounded_half_even(raw: str, wanted: str) -> None:
    """The raw number is handed on for `extra`, without a reason: it is no reject."""
    fitted = fit(Kind.DECIMAL, [number(raw), 5])
    assert values(fitted) == [Decimal(wanted), Decimal(5)]
    assert [(misfit.row, misfit.reason, misfit.raw) for misfit in fitted.misfits] == [(0, "", raw)]


def test_zeros_past_the_ninth_decimal_are_no_loss() -> None:
    """Nothing is rounded away, so nothing needs keeping."""
    assert fit_one(Kind.DECIMAL, number("1.50000000000000")) == (Decimal("1.5"), [])


@pytest.mark.parametrize(
    "raw",
    [10**29, -(10**29), number("1E29"), number("1e400"), number("1" * 30 + ".5"), "1" * 30],
)
def test_thirty_digits_are_rejected(raw: Any) -> None:
    """They fit no warehouse's number: null, and told."""
    assert fit_one(Kind.DECIMAL, raw) == (None, ["more than 29 integer digits"])


def test_rounding_up_to_thirty_digits_is_rejected() -> None:
    """29 nines and more, rounded up, are 30 digits."""
    value, reasons = fit_one(Kind.DECIMAL, number("9" * 29 + ".9999999999"))
    assert (value, reasons) == (None, ["more than 29 integer digits"])


@pytest.mark.parametrize(
    "raw", ["abc", "1_000", " 5", "5 ", "٣", "NaN", "Infinity", "0x10", True, [1], {"a": 1}]
)
def test_what_is_no_number_is_rejected(raw: Any) -> None:
    """No reading is invented."""
    value, reasons = fit_one(Kind.DECIMAL, raw)
    assert value is None
    assert reasons[0].startswith("expected a number")


@given(
    st.lists(
        st.one_of(st.integers(), st.decimals(allow_nan=False, allow_infinity=False).map(str).map(number))
    )
)
@settings(max_examples=150, deadline=None)
def test_decimals_agree_with_python(raws: list[Any]) -> None:
    """Arrow's quick way and Python's slow way give what Decimal says."""
    fitted = fit(Kind.DECIMAL, raws)
    refused = {misfit.row for misfit in fitted.misfits if misfit.reason}
    for row, (raw, value) in enumerate(zip(raws, values(fitted), strict=True)):
        exact = Decimal(str(raw))
        if row in refused:
            assert abs(exact) >= Decimal(10) ** 29 - 1
        else:
            assert value == exact.quantize(Decimal("1e-9"), ROUND_HALF_EVEN, Context(prec=2000))


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (5, 5),
        (-(2**63), -(2**63)),
        (2**63 - 1, 2**63 - 1),
        ("209859", 209859),
        ("-1", -1),
        (number("5.0"), 5),
        (number("1E3"), 1000),
    ],
)
def test_integers(raw: Any, wanted: int) -> None:
    """Whole numbers count however they are written."""
    assert fit_one(Kind.INT, raw) == (wanted, [])


@pytest.mark.parametrize(
    "raw", [2**63, -(2**63) - 1, 10**30, "9" * 40, number("5.5"), number("1E300"), "5.5"]
)
def test_no_64_bit_integer_is_rejected(raw: Any) -> None:
    """Nothing wraps around, nothing is cut."""
    assert fit_one(Kind.INT, raw) == (None, ["not a 64-bit integer"])


@pytest.mark.parametrize("raw", [True, "five", [5], {}])
def test_what_is_no_integer_is_rejected(raw: Any) -> None:
    """true is not 1."""
    value, reasons = fit_one(Kind.INT, raw)
    assert value is None
    assert reasons[0].startswith("expected an integer")


@pytest.mark.parametrize(("raw", "wanted"), [(True, True), (False, False), ("true", True), ("FALSE", False)])
def test_booleans(raw: Any, wanted: bool) -> None:
    """Old answers write them as text."""
    assert fit_one(Kind.BOOL, raw) == (wanted, [])


@pytest.mark.parametrize("raw", [0, 1, "yes", "1", [], number("1.0")])
def test_what_is_no_boolean_is_rejected(raw: Any) -> None:
    """1 is not true."""
    value, reasons = fit_one(Kind.BOOL, raw)
    assert value is None
    assert reasons[0].startswith("expected true or false")


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("", ""),
        (" ", " "),
        ("x", "x"),
        (5, "5"),
        (number("5.50"), "5.50"),
        (True, "true"),
        (10**30, "1" + "0" * 30),
    ],
)
def test_text(raw: Any, wanted: str) -> None:
    """Text as it is, blanks included; scalars as they were written."""
    assert fit_one(Kind.TEXT, raw) == (wanted, [])


def test_objects_are_no_text() -> None:
    """An object is not flattened into a text column."""
    assert fit_one(Kind.TEXT, {"a": 1}) == (None, ["expected text, got object"])


def test_empty_text_and_null_stay_apart() -> None:
    """In a text column; elsewhere "" is null, kept beside without a reject."""
    assert values(fit(Kind.TEXT, ["", None])) == ["", None]
    for kind in (Kind.INT, Kind.BOOL, Kind.DECIMAL, Kind.INSTANT, Kind.LOCAL, Kind.DATE):
        fitted = fit(kind, ["", None])
        assert values(fitted) == [None, None]
        assert [(misfit.row, misfit.reason, misfit.raw) for misfit in fitted.misfits] == [(0, "", "")]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("2016-06-23T19:11:18+08:00", datetime(2016, 6, 23, 11, 11, 18, tzinfo=UTC)),
        ("2025-04-30T06:58:25Z", datetime(2025, 4, 30, 6, 58, 25, tzinfo=UTC)),
        ("2021-10-27T13:17:47.677Z", datetime(2021, 10, 27, 13, 17, 47, 677000, tzinfo=UTC)),
        ("2025-04-30 06:58:25Z", datetime(2025, 4, 30, 6, 58, 25, tzinfo=UTC)),
        ("2025-04-30T06:58:25-0330", datetime(2025, 4, 30, 10, 28, 25, tzinfo=UTC)),
        ("2125-11-19T23:59:59Z", datetime(2125, 11, 19, 23, 59, 59, tzinfo=UTC)),
        ("9999-12-31T00:00:00+05:30", datetime(9999, 12, 30, 18, 30, tzinfo=UTC)),
    ],
)
def test_instants(raw: str, wanted: datetime) -> None:
    """The moment in UTC, centuries ahead included."""
    assert fit_one(Kind.INSTANT, raw) == (wanted, [])


def test_finer_than_microseconds_is_cut_and_kept() -> None:
    """A ninth digit of a second is dropped; the raw text goes to `extra`."""
    fitted = fit(Kind.INSTANT, ["2025-04-30T06:58:25.123456789Z", "2025-04-30T06:58:25.100000000Z"])
    assert [value.microsecond for value in values(fitted)] == [123456, 100000]
    assert [(misfit.row, misfit.reason) for misfit in fitted.misfits] == [(0, "")]


def test_instant_without_zone_is_rejected_where_no_zone_is_known() -> None:
    """No zone is invented."""
    assert fit_one(Kind.INSTANT, "2025-04-30T06:58:25") == (None, ["a date-time without its zone"])


def test_instant_without_zone_takes_the_clusters() -> None:
    """With `api.cluster_timezone`, and its summer time."""
    assert fit_one(Kind.INSTANT, "2025-04-30 12:25:56", KOLKATA) == (
        datetime(2025, 4, 30, 6, 55, 56, tzinfo=UTC),
        [],
    )
    assert fit_one(Kind.INSTANT, "2025-07-01 00:00:00", NEW_YORK)[0] == datetime(2025, 7, 1, 4, tzinfo=UTC)
    assert fit_one(Kind.INSTANT, "2025-01-01 00:00:00", NEW_YORK)[0] == datetime(2025, 1, 1, 5, tzinfo=UTC)


def test_cluster_zone_leaves_given_zones_alone() -> None:
    """It is for date-times that have none."""
    assert fit_one(Kind.INSTANT, "2025-04-30T06:58:25Z", KOLKATA)[0] == datetime(
        2025, 4, 30, 6, 58, 25, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "raw",
    [
        "2025-04-30",
        "30-04-2025",
        "2025-02-30T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+05:30",
        1735839142990,
        True,
    ],
)
def test_what_is_no_instant_is_rejected(raw: Any) -> None:
    """Dates alone, epochs and days that no calendar has."""
    value, reasons = fit_one(Kind.INSTANT, raw)
    assert value is None
    assert reasons[0]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("2021-11-10 01:04:05.0", datetime(2021, 11, 10, 1, 4, 5)),  # noqa: DTZ001 - local times have no zone
        ("2025-04-30 12:25:56", datetime(2025, 4, 30, 12, 25, 56)),  # noqa: DTZ001
        ("2025-04-30T12:25:56", datetime(2025, 4, 30, 12, 25, 56)),  # noqa: DTZ001
    ],
)
def test_local_times(raw: str, wanted: datetime) -> None:
    """As given: neither a zone nor an hour is added, whatever the cluster's zone."""
    assert fit_one(Kind.LOCAL, raw) == (wanted, [])
    assert fit_one(Kind.LOCAL, raw, KOLKATA) == (wanted, [])


@pytest.mark.parametrize("raw", ["2021-11-10", "2021-11-10T01:04:05Z", "2021-11-10 25:00:00", 5])
def test_what_is_no_local_time_is_rejected(raw: Any) -> None:
    """A date is not midnight, and a zone is not dropped."""
    value, reasons = fit_one(Kind.LOCAL, raw)
    assert value is None
    assert reasons[0]


def test_local_times_beside_dates() -> None:
    """One bare date in a column does not turn into midnight."""
    fitted = fit(Kind.LOCAL, ["2021-11-10 01:04:05", "2021-11-10"])
    assert [value is None for value in values(fitted)] == [False, True]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [("2021-11-23", date(2021, 11, 23)), ("2125-11-19", date(2125, 11, 19)), ("0001-01-01", date(1, 1, 1))],
)
def test_dates(raw: str, wanted: date) -> None:
    """Days, a century ahead included."""
    assert fit_one(Kind.DATE, raw) == (wanted, [])


@pytest.mark.parametrize(
    "raw", ["2021-11-23T00:00:00Z", "2021-11-23 00:00:00", "23-11-2021", "1971-5-7", "2021-13-01", 5]
)
def test_what_is_no_date_is_rejected(raw: Any) -> None:
    """No time of day is cut off, no order of day and month guessed."""
    value, reasons = fit_one(Kind.DATE, raw)
    assert value is None
    assert reasons[0]


def test_json_keeps_numbers_as_written() -> None:
    """JSON text of any value, numbers digit by digit."""
    raws = [{"a": number("1.10")}, [10**30], "x", number("1E5"), False, [], {}, None]
    texts = ['{"a":1.10}', "[1" + "0" * 30 + "]", '"x"', "1E5", "false", "[]", "{}", None]
    assert values(fit(Kind.JSON, raws)) == texts


@pytest.mark.parametrize("kind", Kind)
def test_columns_of_nulls_have_their_type(kind: Kind) -> None:
    """A night without any value still has the column, typed."""
    for raws in ([], [None, None]):
        fitted = fit(kind, raws)
        assert fitted.array.type == ARROW_TYPES[kind]
        assert fitted.array.null_count == len(raws)


@pytest.mark.parametrize("kind", Kind)
def test_mixed_columns_keep_each_value_in_its_row(kind: Kind) -> None:
    """One odd value slows the column down; it moves nothing."""
    raws = [None, "", "x", 5, number("1.5"), True, "2021-11-23", "2021-11-23T00:00:00Z", [1], {"a": 1}, None]
    fitted = fit(kind, raws)
    assert len(fitted.array) == len(raws)
    odd = {misfit.row for misfit in fitted.misfits}
    for row, (raw, value) in enumerate(zip(raws, values(fitted), strict=True)):
        assert (value is None) == (raw is None or row in odd)


@given(
    st.lists(
        st.one_of(st.none(), st.text(), st.integers(), st.booleans(), st.text(alphabet="0123456789-+:.TZ ,E"))
    )
)
@settings(max_examples=150, deadline=None)
def test_anything_is_fitted_or_told(raws: list[Any]) -> None:
    """For every kind: a value, or a misfit that holds the raw one; never an exception."""
    for kind in Kind:
        fitted = fit(kind, raws, KOLKATA)
        told = {misfit.row: misfit.raw for misfit in fitted.misfits}
        for row, (raw, value) in enumerate(zip(raws, fitted.array, strict=True)):
            assert value.is_valid or raw is None or told[row] == raw


def test_offsets_as_written() -> None:
    """The zone of each date-time, null where there is none."""
    raws = [
        "2021-01-01T00:00:00+05:30",
        "2021-01-01T00:00:00Z",
        "2021-01-01T00:00:00-0330",
        "2021-01-01",
        None,
        5,
    ]
    assert offsets(raws).to_pylist() == ["+05:30", "Z", "-0330", None, None, None]


@pytest.mark.parametrize(
    "number",
    ["1E-999999999", "7E-48", "-12345678901234567890E-2766", "28924001217203770611590612243291", "1.5E31"],
)
def test_numbers_that_arrow_gets_wrong_never_reach_it(number: str) -> None:
    """A crash, a silent zero, a wrong number: all are read by Python's exact decimals instead."""
    fitted = fit(Kind.DECIMAL, [JsonFloat("1.5"), JsonFloat(number), None])
    assert values(fitted)[0] == Decimal("1.5")
    assert values(fitted)[1] in (None, Decimal(0))
    assert [misfit.raw for misfit in fitted.misfits] == [number]
