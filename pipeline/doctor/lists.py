"""The CSVs of customer IDs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.doctor.case import Case
from pipeline.doctor.finding import Finding, fine, warned
from pipeline.errors import UsageError
from pipeline.night.listing import FEW_ROWS

OLD_DAYS = 30


def look_at_ids(case: Case) -> Iterator[Finding]:
    """Readable, with IDs in it, not too many other things, and written lately."""
    if case.is_piped:
        yield fine("IDs", "from standard input; read when a night runs")
        return
    rows = case.first_rows
    if case.plan is None and isinstance(case.plan_error, UsageError):
        raise case.plan_error  # what is wrong further down the list
    where = ", ".join(rows.files[:3]) + (" …" if len(rows.files) > 3 else "")
    if rows.first is None:
        raise UsageError(
            f"There is no customer ID in {where} ({rows.read:,} rows read).",
            "Check ids.paths and ids.column.",
        )
    yield _share(case, where)
    yield from _age(case, rows.files)


def _share(case: Case, where: str) -> Finding:
    """How many of the first rows hold no ID. A night that finds more than the config allows does not start."""
    rows, most, plan = case.first_rows, case.config.ids.max_rejected_share, case.plan
    share = rows.rejected / rows.read
    told = f"{rows.rejected:,} of the first {rows.read:,} rows in {where} hold no customer ID ({share:.1%}"
    if share > most and rows.read >= FEW_ROWS:
        raise UsageError(
            f"{told}, allowed {most:.1%}).", "Check ids.column, or raise ids.max_rejected_share."
        )
    files = "1 file" if len(rows.files) == 1 else f"{len(rows.files):,} files"
    detail = f"{files}, {plan.ids:,} distinct IDs" if plan else f"{files}, of the first {rows.read:,} rows"
    return fine("IDs", f"{detail}; {told})" if rows.rejected else detail)


def _age(case: Case, files: list[str]) -> Iterator[Finding]:
    newest = max(Path(file).stat().st_mtime for file in files)
    days = (case.now.timestamp() - newest) / 86_400
    if days > OLD_DAYS:
        yield warned(
            "IDs",
            f"The newest of the lists was written {days:,.0f} days ago.",
            "Customers who came since are in no night: see that whatever writes the lists still runs.",
        )
