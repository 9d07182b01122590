"""How long knowledge and ledger take, and how much memory, at the size of a large brand. `make bench-knowledge`.

Each measure runs in a process of its own, on files written before; prints a table and writes bench/KNOWLEDGE.md.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.normalize.scribe import CHUNK_RECORDS
from pipeline.outcome import Outcome
from pipeline.store.knowledge import DTYPES, Knowledge, Known, apply, read_knowledge, write_knowledge
from pipeline.store.ledger import (
    CALLS,
    CALLS_SCHEMA,
    RECORD_BITS,
    call_times_since,
    read_ledger,
    read_verdicts,
)
from pipeline.store.parts import part_name, write_part

IDS = int(os.environ.get("BENCH_IDS", 10_000_000))
NIGHT = int(os.environ.get("BENCH_NIGHT", 1_000_000))
CALLS_MADE = int(os.environ.get("BENCH_CALLS", 2_000_000))
MARKDOWN = Path(__file__).parent / "KNOWLEDGE.md"
BEGAN = 1_763_700_000


def prepare(folder: Path) -> None:
    """The files that the measures read: many known IDs, a night of answers, a night of many calls."""
    dice = np.random.default_rng(1)
    ids = np.unique(dice.integers(1, 1 << 40, IDS + IDS // 100))[:IDS]
    rest = {name: dice.integers(1, 1000, IDS).astype(dtype) for name, dtype in DTYPES.items()}
    write_knowledge(folder / "n.known", Known(Knowledge(**{**rest, "customer_ids": ids}), {}))
    fresh = np.unique(dice.integers(1 << 41, 1 << 42, NIGHT // 10))
    asked = np.concatenate([fresh, dice.choice(ids, NIGHT - len(fresh), replace=False)])
    write_calls(folder / "night", dice.permutation(asked), dice)
    write_calls(folder / "resumed", dice.choice(ids, CALLS_MADE), dice)


def write_calls(parts: Path, ids: Any, dice: np.random.Generator) -> None:
    """Lists of calls as the normalizer writes them; one call in twenty had to be made again."""
    for chunk, start in enumerate(range(0, len(ids), CHUNK_RECORDS)):
        asked = ids[start : start + CHUNK_RECORDS]
        places = np.arange(len(asked))
        is_retried = places % 20 == 19
        filled = {
            "customer_id": asked,
            "fetched_at": (BEGAN + (start + places) // 50) * 1_000_000,
            "outcome": np.where(is_retried, Outcome.RETRIED, Outcome.EXPORTED),
            "status": np.where(is_retried, 429, 200),
            "latency_us": dice.integers(50_000, 90_000, len(asked)),
            "record": chunk << RECORD_BITS | places,
            "body_hash": np.where(is_retried, 0, dice.integers(1, 1 << 62, len(asked))),
        }
        filled["_record"] = filled.pop("record")
        columns = [
            pa.array(filled.get(field.name, np.zeros(len(asked))).astype(field.type.to_pandas_dtype()))
            for field in CALLS_SCHEMA
        ]
        table = pa.Table.from_arrays(columns, schema=CALLS_SCHEMA)
        write_part(parts / CALLS / part_name(chunk), table)


def loading(folder: Path) -> None:
    """Map and check the file."""
    read_knowledge(folder / "n.known")


def looking_up(folder: Path) -> None:
    """Load it, and find every ID in random order."""
    knowledge = read_knowledge(folder / "n.known").knowledge
    wanted = np.random.default_rng(2).permutation(knowledge.customer_ids)
    assert knowledge.places_of(wanted)[1].all()


def applying(folder: Path) -> None:
    """Load it, read a night's calls, and write what is known then."""
    known = read_knowledge(folder / "n.known")
    verdicts, _ = read_verdicts(folder / "night")
    write_knowledge(folder / "m.known", Known(apply(known.knowledge, verdicts, folder), {}))


def resuming(folder: Path) -> None:
    """The ledger of a night that goes on."""
    read_ledger(folder / "resumed")


def counting_spent(folder: Path) -> None:
    """When its calls were made, for the quota."""
    assert len(call_times_since(folder / "resumed", 0)) == CALLS_MADE


def starting(_folder: Path) -> None:
    """Nothing but the imports: what the others are to be compared with."""


MEASURES: dict[str, tuple[Callable[[Path], None], str]] = {
    f"load {IDS:,} known IDs": (loading, "10 s, 500 MB"),
    f"load them, look up {IDS:,} in random order": (looking_up, "10 s, 500 MB"),
    f"load them, apply a night of {NIGHT:,} calls, write": (applying, "10 s, 500 MB"),
    f"`read_ledger` of {CALLS_MADE:,} calls": (resuming, "3 s, 200 MB"),
    f"`call_times_since` of {CALLS_MADE:,} calls": (counting_spent, ""),
    "imports alone": (starting, ""),
}


def measure(name: str, folder: Path) -> None:
    """Run one measure here and tell what it took, as JSON."""
    began = time.perf_counter()
    MEASURES[name][0](folder)
    seconds = time.perf_counter() - began
    print(json.dumps([seconds, peak_megabytes()]))


def peak_megabytes() -> float:
    """Of this process alone: `ru_maxrss` begins at what the process had that started it (Linux only)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6


def rows(folder: Path) -> list[str]:
    """A table's lines, each measured in a process of its own."""
    lines = ["| what | seconds | peak MB | limit |", "|---|--:|--:|---|"]
    for name, (_, limit) in MEASURES.items():
        command = [sys.executable, "-m", "bench.knowledge", name, str(folder)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, megabytes = json.loads(told)
        lines.append(f"| {name} | {seconds:.2f} | {megabytes:,.0f} | {limit} |")
    return lines


def machine() -> str:
    """Where this was measured, and with what."""
    cores = os.cpu_count()
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores; Python {platform.python_version()}, "
        f"numpy {np.__version__}, pyarrow {pa.__version__}; load when it began: {os.getloadavg()[0]:.1f}."
    )


def main() -> None:
    """Prepare, measure, tell."""
    about_it = machine()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        prepare(Path(folder))
        size = (Path(folder) / "n.known").stat().st_size / 1e6
        table = "\n".join(rows(Path(folder)))
    about = (
        f"{about_it} Peak of the whole process, files in the page cache; the known file has {size:,.0f} MB."
    )
    text = f"# What is known, and the ledger\n\nMade by `make bench-knowledge`. {about}\n\n{table}\n"
    print(text)
    MARKDOWN.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
