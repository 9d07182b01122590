"""Nights in real time, and what `plan` and `rehearse` foresaw of them: the same list, quota, latency and faults.

`python -m bench.rehearsals` writes bench/REHEARSALS.md; it takes some minutes, most of them waiting.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from bench import tree
from bench.nights import FIRST_NIGHT, Export, running
from bench.tables import machine, markdown, write_table
from pipeline.sandbox import SandboxConfig
from pipeline.store.ledger import calls_parts
from pipeline.store.parts import read_part

IDS = 500


@dataclass(frozen=True)
class Kind:
    """A kind of night."""

    name: str
    faults: str
    quota: dict[str, Any] = field(
        default_factory=lambda: {"limits": [{"calls": 600, "per_s": 60}], "max_in_flight": 16}
    )
    ids: int = IDS


KINDS = (
    Kind("nothing fails", "latency=150ms/250ms/1s"),
    Kind("one call in twenty fails", "latency=150ms/250ms/1s, 503=4%, reset=1%"),
    Kind("throttled: three calls in a thousand get a 429", "latency=150ms/250ms/1s, 429-bare=0.3%"),
    Kind("a slow API: 1.2 s a call, 6 in flight", "latency=700ms/1.2s/1.7s",
         {"limits": [{"calls": 6000, "per_s": 60}], "max_in_flight": 6}, 300),
)  # fmt: skip
HEADS = ("night", "IDs", "calls", "took", "planned", "off by", "rehearsed", "off by", "speed", "rehearsed in")


def measure(kind: Kind, root: Path) -> list[str]:
    """A real night, and then its rehearsal, in the table."""
    with running(SandboxConfig(customers=kind.ids, day=FIRST_NIGHT)) as sandbox:
        home = Export(root, sandbox, kind.ids).begin()
        settings = yaml.safe_load((root / "nightly.yaml").read_text())
        settings |= {"quota": kind.quota, "retry": {"max_wait_s": 5}}
        (root / "nightly.yaml").write_text(yaml.safe_dump(settings))
        home.run(faults=kind.faults)
    calls, took = _calls_and_seconds(root)
    used = tree.run_python(["-m", "pipeline", "rehearse", str(root / "nightly.yaml"), "--json"])
    if used.exit_code:
        raise RuntimeError(f"the rehearsal ended with exit code {used.exit_code}:\n{used.output}")
    found = json.loads(used.output.splitlines()[-1])
    planned, foreseen = found["plan"]["seconds_needed"], found["rehearsed"]["seconds_needed"]
    return [
        kind.name,
        f"{kind.ids:,}",
        f"{calls:,}",
        f"{took:.1f} s",
        f"{planned:.1f} s",
        f"{abs(planned / took - 1):.1%}",
        f"{foreseen:.1f} s",
        f"{abs(foreseen / took - 1):.1%}",
        f"{found['sample']['speed']:.3g} ×",
        f"{used.wall_s:.0f} s",
    ]


def _calls_and_seconds(root: Path) -> tuple[int, float]:
    """Of the real night: from its first call to its last answer."""
    parts = calls_parts(root / "work" / FIRST_NIGHT.isoformat() / "parts")
    batches = [batch for path in parts for batch in read_part(path, ["fetched_at", "latency_us"])]
    answered = np.concatenate([batch.column("fetched_at").to_numpy() for batch in batches]) / 1e6
    latency = np.concatenate([batch.column("latency_us").to_numpy() for batch in batches]) / 1e6
    return len(answered), float(answered.max() - (answered - latency).min())


def main(_arguments: Sequence[str] | None = None) -> int:
    """All kinds, one after the other."""
    rows = []
    for kind in KINDS:
        with TemporaryDirectory(prefix="bench-rehearsals-") as folder:
            rows.append(measure(kind, Path(folder)))
    about = (
        f"`make bench-rehearse`: {machine('aiohttp')}. Each night ran in real time; then `plan` and `rehearse` were "
        "asked when its next one will end, which is alike in all."
    )
    write_table(
        "REHEARSALS.md", "Plans and rehearsals against nights in real time", about, markdown(HEADS, rows)
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
