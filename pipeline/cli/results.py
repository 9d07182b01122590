"""How a night ended: its exit code, in words, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.cli.showing import as_grid
from pipeline.errors import Exit

if TYPE_CHECKING:
    from pipeline.formats import Reached
    from pipeline.night import Result


def exit_code(result: Result, *, published_ok: bool = False) -> int:
    """What the night's end means for cron (see the README's table).

    `published_ok`: a night that stopped before its end is well, too, where what it has is live.
    """
    if result.held:
        return int(Exit.HELD)
    if tables_exit_code(result.tables):
        return tables_exit_code(result.tables)
    if published_ok and result.live:
        return int(Exit.OK)
    if result.unchanged and result.plan is not None and result.plan.due and result.plan.fits == 0:
        return int(Exit.STOPPED)
    return int(Exit.STOPPED) if result.stopped else int(Exit.OK)


def result_json(result: Result, notices: Sequence[str] = ()) -> dict[str, Any]:
    """How a night ended, for machines. `notices` tell of hooks that failed."""
    manifest = result.manifest
    return {
        "night": result.night.isoformat(),
        "published": result.live and not result.unchanged,
        "unchanged": result.unchanged,
        "stopped": result.stopped.message if result.stopped else None,
        "held": result.held.message if result.held else None,
        "snapshot": manifest.snapshot if manifest else None,
        "folder": result.folder,
        "remark": result.remark or None,
        "notices": list(notices),
        "ids": manifest.ids if manifest else None,
        "outcomes": manifest.outcomes if manifest else None,
        "calls": manifest.calls if manifest else None,
        "tables": {name: table.rows for name, table in manifest.tables.items()} if manifest else None,
        "lakehouse": reached_json(result.tables),
    }


def tables_exit_code(reached: Reached | None) -> int:
    """Tables that are behind for trouble are a storage trouble; those that another publisher takes on are none."""
    in_trouble = reached is not None and (reached.failed or reached.unknown)
    return int(Exit.STORAGE) if in_trouble else int(Exit.OK)


def reached_json(reached: Reached | None) -> dict[str, Any] | None:
    """How far the Delta Lake or Iceberg tables are; None where there are none."""
    if reached is None:
        return None
    return {
        "format": reached.format,
        "snapshot": reached.snapshot,
        "whole": reached.is_whole,
        "versions": {name: table.version for name, table in reached.tables.items()},
        "committed": reached.committed,
        "failed": reached.failed,
        "unknown": reached.unknown,
        "behind": reached.behind,
    }


def result_text(result: Result) -> Any:
    """How a night ended, for people."""
    if result.manifest is None:
        return "\n".join([_unchanged_text(result), *_of_tables(result)])
    tables = [(name, f"{table.rows:,}") for name, table in result.manifest.tables.items()]
    return _joined(as_grid(("table", "rows"), tables), _account(result), _ending(result))


def _unchanged_text(result: Result) -> str:
    due = result.plan.due if result.plan else 0
    done = f"{due:,} IDs are still due, none fits now" if due else "every ID is done"
    live = (
        "its snapshot is live" if result.live else "its snapshot is not the live one (`publish` makes it so)"
    )
    return f"Night {result.night}: nothing to do, {done} and {live}."


def _of_tables(result: Result) -> list[str]:
    return [result.tables.told()] if result.tables else []


def _joined(*parts: Any) -> Any:
    from rich.console import Group

    return Group(*parts)


def _account(result: Result) -> str:
    manifest = result.manifest
    assert manifest is not None
    found = ", ".join(f"{count:,} {name}" for name, count in manifest.outcomes.items() if count)
    ids, calls = manifest.ids, manifest.calls
    return (
        f"\n{ids['read']:,} rows read: {ids['distinct']:,} distinct IDs, {ids['repeated']:,} repeated, "
        f"{ids['rejected']:,} rejected\n{ids['distinct']:,} IDs: {found}\n"
        f"{calls['made']:,} calls made, {calls['repeated']:,} of them again, {calls['throttled']:,} throttled"
    )


def _ending(result: Result) -> str:
    lines = []
    if result.stopped:
        lines.append(f"{result.stopped.message} {result.stopped.hint}")
    if result.held:
        lines.append(f"HELD. {result.held.message} {result.held.hint}")
    elif result.live:
        lines.append(f"Published: {result.folder}")
        lines += _of_tables(result)
        lines += [f"But afterwards: {result.remark}"] if result.remark else []
    else:
        lines.append(
            f"Not published: {result.folder}\n`publish CONFIG --night {result.night}` makes it live."
        )
    return "\n".join(lines)
