"""What must hold before readers see a snapshot. Plain functions of sums; each says what it compared."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pipeline.store.snapshots import ManifestCheck


def account_balances(distinct: int, outcomes: Mapping[str, int], outcome_rows: int) -> ManifestCheck:
    """Each distinct valid ID has exactly one verdict, in the journal and in the table `outcomes`."""
    total = sum(outcomes.values())
    return ManifestCheck(
        name="every ID accounted for",
        passed=distinct == total == outcome_rows,
        detail=f"{distinct:,} distinct IDs, {total:,} verdicts, {outcome_rows:,} rows of tonight in outcomes",
    )


def reading_balances(ids: Mapping[str, int]) -> ManifestCheck:
    """Each CSV row is a distinct ID, a repeat, or rejected."""
    parts = ids["distinct"] - ids.get("carried", 0) + ids["repeated"] + ids["rejected"]
    return ManifestCheck(
        name="every CSV row accounted for",
        passed=ids["read"] == parts,
        detail=f"{ids['read']:,} rows read, {parts:,} as distinct, repeated or rejected",
    )


def answers_are_rows(outcomes: Mapping[str, int], customer_rows: int) -> ManifestCheck:
    """Each exported or partial answer gave one row in `customers`."""
    answers = outcomes["exported"] + outcomes["partial"]
    return ManifestCheck(
        name="every answer in customers",
        passed=answers == customer_rows,
        detail=f"{answers:,} answers, {customer_rows:,} of tonight's rows in customers",
    )


def no_newer_night(live: date | None, night: date) -> ManifestCheck:
    """An older night never takes the place of a newer one by itself."""
    return ManifestCheck(
        name="no newer night is live",
        passed=live is None or live <= night,
        detail=f"the live snapshot is of {live or 'no night'}, this one of {night}",
    )


def no_drift(table: str, unknown: int, rejected: int) -> ManifestCheck:
    """For a table whose drift is not to be kept silently: no unknown key and no value that did not fit."""
    return ManifestCheck(
        name=f"no drift in {table}",
        passed=not unknown and not rejected,
        detail=f"{unknown:,} values under unknown keys, {rejected:,} values that fit no column",
    )


def rows_add_up(table: str, tonight: int, kept: int, in_files: int) -> ManifestCheck:
    """Rows in parts plus rows kept from the last snapshot are the rows in the files."""
    return ManifestCheck(
        name=f"rows of {table} add up",
        passed=tonight + kept == in_files,
        detail=f"{tonight:,} from tonight + {kept:,} kept, {in_files:,} in the files",
    )


def changes_add_up(table: str, before: int, more: int, in_files: int) -> ManifestCheck:
    """The last snapshot's rows, and what the changes added and took, are the rows in the files."""
    return ManifestCheck(
        name=f"changes of {table} add up",
        passed=before + more == in_files,
        detail=f"{before:,} before {more:+,} by the changes, {in_files:,} in the files",
    )
