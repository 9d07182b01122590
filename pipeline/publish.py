"""Files first, then the manifest, then the pointer: readers see all tables of a night, or the last ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import count
from types import EllipsisType

from pipeline import __version__
from pipeline.errors import HeldError, TakenError, UsageError
from pipeline.store.snapshots import Draft, Manifest, ManifestCheck, ManifestTable, Pointer, Snapshots

SCHEMA_VERSION = 1
"""Raised when a table changes in a way that readers notice."""


FAILURES_TOLD = 3

_STAMPED = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z")
_STAMP_CHARS = len("2026-11-22T051207Z")


def snapshot_name(now: datetime) -> str:
    """A snapshot's name: when it was made, in UTC, so that names sort by time."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H%M%SZ")


def begin(snapshots: Snapshots, now: datetime) -> Draft:
    """A snapshot under way, by a name that no other has and that sorts behind all; one that comes within the same
    second, or after the clock went back, gets a suffix.

    Raises StorageError.
    """
    taken = snapshots.complete()
    newest = max(filter(_STAMPED.match, taken), default="")
    for name in _names(max(snapshot_name(now), newest[:_STAMP_CHARS])):
        if name > newest:
            with suppress(TakenError):  # by a publisher on another machine
                return snapshots.begin(name)
    raise AssertionError("the names have no end")


def _names(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{suffix:02d}" for suffix in count(2))


def make_manifest(
    *,
    name: str,
    night: date,
    now: datetime,
    previous: str | None,
    ids: Mapping[str, int],
    outcomes: Mapping[str, int],
    calls: Mapping[str, int],
    tables: Mapping[str, ManifestTable],
    checks: Sequence[ManifestCheck],
    config_sha256: str,
    changes: Mapping[str, ManifestTable] | None = None,
) -> Manifest:
    """What the snapshot is and how it came to be."""
    return Manifest(
        snapshot=name,
        night=night,
        created_at=_instant(now),
        version=__version__,
        schema_version=SCHEMA_VERSION,
        previous=previous,
        ids=dict(ids),
        outcomes=dict(outcomes),
        calls=dict(calls),
        tables=dict(tables),
        changes=dict(changes or {}),
        checks=list(checks),
        config_sha256=config_sha256,
    )


def failed_checks(manifest: Manifest) -> list[ManifestCheck]:
    """The checks that hold this snapshot back; one that only warns does not."""
    return [check for check in manifest.checks if not check.passed and check.severity == "hold"]


def is_held(manifest: Manifest) -> bool:
    """Whether a check failed and nobody gave a reason to publish all the same."""
    return bool(failed_checks(manifest)) and not manifest.forced_reason


def swing(
    snapshots: Snapshots,
    manifest: Manifest,
    now: datetime,
    forced_reason: str | None = None,
    *,
    instead_of: str | EllipsisType | None = ...,
) -> Pointer:
    """Make a committed snapshot the live one, `instead_of` the one it was made upon, where that is told.

    Raises HeldError where a check failed and no reason is given, or where another publisher was first; UnclearError
    where nobody can say whether the pointer was moved. The reason is kept in the manifest, for as long as the
    snapshot is, and in the pointer.
    """
    reason = (forced_reason or "").strip()
    if not reason:
        _refuse_held(manifest)
        return snapshots.point(manifest.snapshot, _instant(now), instead_of=instead_of)
    snapshots.amend(manifest.model_copy(update={"forced_reason": reason}))
    return snapshots.point(manifest.snapshot, _instant(now), instead_of=instead_of, forced_reason=reason)


def roll_back(snapshots: Snapshots, to: str | None, now: datetime) -> Pointer:
    """Point at an older snapshot: the one named, else the last one before the live one that is not held.

    A pointer that cannot be read is no hindrance where a snapshot is named. Raises UsageError, HeldError.
    """
    whole = snapshots.complete()
    target = _before_the_live_one(snapshots, whole) if to is None else to
    if target is None or target not in whole:
        known = ", ".join(whole) or "none"
        raise UsageError(f"There is no snapshot {to or 'before the live one'}.", f"Whole snapshots: {known}.")
    _refuse_held(snapshots.manifest(target))
    return snapshots.point(target, _instant(now), rolled_back=True)


def _before_the_live_one(snapshots: Snapshots, whole: Sequence[str]) -> str | None:
    live = snapshots.current()
    older = [name for name in whole if live is None or name < live.snapshot]
    return next((name for name in reversed(older) if not is_held(snapshots.manifest(name))), None)


def _refuse_held(manifest: Manifest) -> None:
    if is_held(manifest):
        raise HeldError(
            f"The snapshot {manifest.snapshot} is held: {_what_failed(manifest)}.",
            f"The last one stays live. To publish all the same: `capillary-export publish CONFIG --night "
            f"{manifest.night} --force --reason TEXT`.",
        )


def _what_failed(manifest: Manifest) -> str:
    """The first failures with their numbers, and how many there are besides; the page has all of them."""
    failed = failed_checks(manifest)
    told = [f"{check.name} failed ({check.detail})" for check in failed[:FAILURES_TOLD]]
    more = len(failed) - len(told)
    return "; ".join([*told, f"and {more} more"] if more else told)


def _instant(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="seconds")
