"""Tables, checks, manifest, pointer, page."""

from __future__ import annotations

from datetime import date

from pipeline import checks, publish
from pipeline.blocks import TABLES, accounts
from pipeline.errors import HeldError, StorageError
from pipeline.night.checking import check_rows, keep_as_good
from pipeline.night.known import remember
from pipeline.night.lakehouse import bring_formats, tidy_formats
from pipeline.night.learned import measure
from pipeline.night.listing import sorted_list
from pipeline.night.page import try_page
from pipeline.night.tables import Building, Built, Sources, build_tables, drift_of, wanted_tables
from pipeline.night.tonight import Night, Previous, Result, previous_of
from pipeline.normalize import helper
from pipeline.plan import Plan
from pipeline.processes import map_large_pieces
from pipeline.store.columns import let_go
from pipeline.store.ledger import Ledger, read_ledger
from pipeline.store.snapshots import Manifest, ManifestCheck, Retention
from pipeline.store.workspace import Measured


def build_and_publish(night: Night, plan: Plan, ledger: Ledger | None = None) -> Result:
    """Tables, checks, manifest, pointer, page: in this order. The ledger is read where there is none that is of now."""
    helper.dismiss()  # the merge has its memory
    map_large_pieces()
    night.begins("building", "building the snapshot")
    snapshots, now = night.snapshots, night.options.now()
    live, previous = snapshots.current(), previous_of(night)  # in this order: a swing in between is noticed
    ledger = ledger or read_ledger(night.folder.parts)
    draft = publish.begin(snapshots, now)
    plans = Building(night.config.output, night.config.snapshot, night.options.only, _as_it_is(night))
    sources = Sources(night.folder, ledger, sorted_list(night.folder), previous)
    built = build_tables(plans, sources, draft)
    manifest = publish.make_manifest(
        name=draft.name,
        night=night.folder.night,
        now=now,
        previous=previous.manifest.snapshot if previous.manifest else None,
        ids=night.state.ids.model_dump(),
        outcomes=built.outcomes,
        calls={"made": ledger.calls, "repeated": ledger.repeated, "throttled": ledger.throttled},
        tables=built.tables,
        changes=built.changes,
        checks=_checks(night, built, ledger),
        config_sha256=night.config.sha256(),
    )
    night.tell("snapshot.built", snapshot=draft.name, tables=len(built.tables), **_sizes(manifest))
    manifest = check_rows(night, manifest, previous, ledger)
    _tell_failed_checks(night, manifest)
    snapshots.commit(manifest)
    night.save(measured=_measured(night, ledger, manifest))
    result = Result(
        night.folder.night, manifest, snapshots.where(draft.name), stopped=night.stopped, plan=plan
    )
    night.begins("publishing")
    _swing(night, result, ledger, live.snapshot if live else None)
    let_go()
    _follow_up(night, result)
    return result


def _sizes(manifest: Manifest) -> dict[str, int]:
    tables = manifest.tables.values()
    return {
        "rows": sum(table.rows for table in tables),
        "bytes": sum(file.bytes for table in tables for file in table.files),
    }


def _tell_failed_checks(night: Night, manifest: Manifest) -> None:
    """Without the words of a check: they may hold values."""
    for check in manifest.checks:
        if not check.passed:
            about = {"severity": check.severity, "value": check.value, "band": check.band}
            night.tell("check.failed", check=check.name, **about)


def _measured(night: Night, ledger: Ledger, manifest: Manifest) -> Measured:
    """What the night took so far; a rebuild needs less memory than the fetch did."""
    before = night.state.measured
    known = manifest.tables[accounts.OUTCOMES.name].rows
    found = measure(night.folder, ledger, manifest, known, night.fetch_bytes)
    return found.model_copy(
        update={"memory_bytes": max(found.memory_bytes, before.memory_bytes if before else 0)}
    )


def _as_it_is(night: Night) -> Previous:
    """This night's snapshot so far, for the tables that a rebuild leaves alone."""
    name, snapshots = night.state.snapshot, night.snapshots
    if not name or not snapshots.is_complete(name):
        return Previous(None, snapshots)
    return Previous(snapshots.manifest(name), snapshots)


def _checks(night: Night, built: Built, ledger: Ledger) -> list[ManifestCheck]:
    ids = night.state.ids.model_dump()
    found = [
        checks.reading_balances(ids),
        checks.account_balances(
            ids["distinct"], built.outcomes, built.merged[accounts.OUTCOMES.name].tonight
        ),
        checks.answers_are_rows(built.outcomes, built.merged["customers"].tonight + built.shadowed),
        checks.no_newer_night(_live_night(night), night.folder.night),
    ]
    sums = (
        checks.rows_add_up(name, one.tonight, one.kept, one.table.rows) for name, one in built.merged.items()
    )
    changes = (
        checks.changes_add_up(name, one.before, one.changed.inserted - one.changed.deleted, one.table.rows)
        for name, one in built.merged.items()
        if one.changed is not None
    )
    drift = (
        checks.no_drift(table, *drift_of(table, night.folder, ledger))
        for table, policy in night.config.output.drift.items()
        if policy == "fail"
    )
    return [*found, *sums, *changes, *drift]


def _live_night(night: Night) -> date | None:
    live = night.snapshots.current()
    is_there = live is not None and night.snapshots.is_complete(live.snapshot)
    return night.snapshots.manifest(live.snapshot).night if live is not None and is_there else None


def _swing(night: Night, result: Result, ledger: Ledger, made_upon: str | None) -> None:
    """The commit point, unless the snapshot is held. `made_upon` was live when the tables were begun.

    What is about to be done is noted first: where the answer is lost, the next run can find out (`find_out`).
    """
    assert result.manifest is not None
    name = result.manifest.snapshot
    if night.options.no_publish:
        night.save(snapshot=name, **night.options.unpublished)
        night.tell("snapshot.held", snapshot=name, reason=night.state.reason)
        return
    night.save(swinging_to=name, swinging_records=ledger.records)
    try:
        publish.swing(night.snapshots, result.manifest, night.options.now(), instead_of=made_upon)
    except HeldError as exc:
        result.held = exc
        night.save(state="held", reason=exc.message, snapshot=name, swinging_to="")
        night.tell("snapshot.held", snapshot=name, reason=exc.message)
    else:
        result.live = True
        _note_published(night)
        night.tell("snapshot.published", snapshot=name, outcomes=result.manifest.outcomes)


def find_out(night: Night) -> None:
    """Whether the pointer moved, where the run that moved it died, or was not told."""
    live = night.snapshots.current() if night.state.swinging_to else None
    if live is not None and live.snapshot == night.state.swinging_to:
        manifest = night.snapshots.manifest(live.snapshot)
        _note_published(night, manifest.forced_reason or "")
        try_page(night.config, night.folder.night, night.options.now())


def _note_published(night: Night, forced_reason: str = "") -> None:
    name, records = night.state.swinging_to, night.state.swinging_records
    keep_as_good(night.config, night.folder, name, forced_reason)
    reason = night.stopped.message if night.stopped else ""  # why not all were asked
    night.save(state="published", reason=reason, snapshot=name, published_records=records, swinging_to="")


def _follow_up(night: Night, result: Result) -> None:
    """The tables of `output.format`, the retention, the page.

    Trouble here is a remark, and tables that are behind a result: the night is done, and its data where it belongs.
    """
    remarks = []
    if result.live:
        for step in (bring_formats, _forget_snapshots, tidy_formats):
            try:
                step(night, result)
            except StorageError as exc:
                remarks.append(str(exc))
        remember(night)
        night.workspace.forget_nights(night.config.work.keep_nights)
    night.screen.step("making the morning page")
    remarks.append(try_page(night.config, night.folder.night, night.options.now()))
    result.remark = " ".join(filter(None, [result.remark, *remarks]))
    night.tell("snapshot.followed", remark=result.remark or None)


def _forget_snapshots(night: Night, _result: Result) -> None:
    output = night.config.output
    retention = Retention(output.keep_snapshots, output.keep_days, output.grace)
    night.snapshots.forget(retention, night.options.now())


def nothing_to_do(night: Night, ledger: Ledger, plan: Plan) -> bool:
    """Nobody to ask, and a snapshot of this night in this export has everything that the journal has.

    A snapshot that was rolled back stays so: only `publish` makes it live again.
    """
    if plan.asked or night.state.published_records != ledger.records:
        return False
    name, snapshots = night.state.snapshot, night.snapshots
    if not name or not snapshots.is_complete(name):
        return False
    data_tables = {table.name for table in TABLES} & set(snapshots.manifest(name).tables)
    return data_tables == {table.name for table in wanted_tables(night.config.output)}


def is_live(night: Night) -> bool:
    live = night.snapshots.current()
    return live is not None and live.snapshot == night.state.snapshot
