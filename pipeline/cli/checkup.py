"""The doctor's command: what was tried, how it went, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.cli.app import ConfigPath, JsonFlag, SetOption, app, load
from pipeline.cli.showing import as_grid, show
from pipeline.errors import Exit, UsageError

if TYPE_CHECKING:
    from pipeline.doctor import Finding


@app.command(epilog="Example: capillary-export doctor nightly.yaml")
def doctor(config: ConfigPath, set_: SetOption = None, as_json: JsonFlag = False) -> int:
    """What works, what doesn't, and what to do. Makes one call to the API, two at the most."""
    from pipeline.doctor import examine
    from pipeline.doctor.finding import failed, fine

    try:
        settings = load(config, set_)
    except UsageError as exc:
        findings = [failed("config", exc)]
    else:
        findings = [fine("config", f"{config} has no mistakes"), *examine(settings, datetime.now(UTC))]
    code = next((one.error.exit_code for one in findings if one.error), Exit.OK)
    show(_as_json(findings, code), [_table(findings), _summary(findings, code)], as_json)
    return int(code)


def _as_json(findings: Sequence[Finding], code: Exit) -> dict[str, Any]:
    told = [
        {
            "what": one.what,
            "ok": one.ok,
            "level": one.level.lower(),
            "detail": one.detail,
            "remedy": one.remedy,
            "exit_code": int(one.error.exit_code) if one.error else None,
        }
        for one in findings
    ]
    return {"findings": told, "calls": _calls(findings), "exit_code": int(code)}


def _table(findings: Sequence[Finding]) -> Any:
    """The remedy stands on a line of its own, beneath what it is for."""
    rows: list[tuple[str, str, str]] = []
    for one in findings:
        rows.append((one.level, one.what, one.detail))
        rows += [("", "", f"→ {one.remedy}")] if one.remedy else []
    return as_grid(("", "what", "detail"), rows)


def _summary(findings: Sequence[Finding], code: Exit) -> str:
    failing = [one.what for one in findings if not one.ok]
    warnings = sum(one.ok and bool(one.remedy) for one in findings)
    calls = _calls(findings)
    told = [
        f"{_count(len(failing), 'thing')} must be put right: {', '.join(failing)} (exit code {int(code)})."
        if failing
        else "A night can run.",
        f"{_count(warnings, 'warning')}." if warnings else "",
        f"The API was called {_count(calls, 'time')}." if calls else "The API was not called.",
    ]
    return "\n" + " ".join(filter(None, told))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _calls(findings: Sequence[Finding]) -> int:
    return sum(one.calls for one in findings)
