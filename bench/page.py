"""What the morning page of a large night costs: seconds of CPU, memory, bytes. `python -m bench.page [CALLS]`."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.config import Config
from pipeline.night import NightPage
from pipeline.outcome import Outcome
from pipeline.store.ledger import CALLS, CALLS_SCHEMA
from pipeline.store.parts import part_name, write_part
from pipeline.store.workspace import IdCounts, NightState, Workspace

NIGHT = date(2026, 11, 24)
BEGAN = datetime(2026, 11, 24, 1, tzinfo=UTC)
CHUNK = 8_192
A_MINUTE = 3_000


def main(calls: int) -> None:
    """Lay out the files of such a night, make its page, and tell."""
    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder))
        _write_night(config, calls)
        before, began = _memory(), time.process_time()
        html = NightPage(config, NIGHT, is_running=False).html(BEGAN + timedelta(hours=20))
        seconds = time.process_time() - began
    sys.stdout.write(
        f"{calls:,} calls: {seconds:.2f} s of CPU, {(_memory() - before) / 1e6:.0f} MB more than before, "
        f"a page of {len(html.encode()):,} bytes\n"
    )


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _config(root: Path) -> Config:
    return Config.model_validate(
        {
            "api": {
                "host": "http://127.0.0.1:1",
                "auth": {"kind": "basic", "till": "till.01", "password_env": "CAP_PASSWORD"},
            },
            "ids": {"paths": [str(root / "ids.csv")]},
            "quota": {"limits": [{"calls": A_MINUTE, "per_s": 60}]},
            "work": {"path": str(root / "work")},
            "output": {"url": str(root / "export")},
        }
    )


def _write_night(config: Config, calls: int) -> None:
    folder = Workspace(config.work.path).night(NIGHT).make()
    ids = IdCounts(read=calls, distinct=calls)
    state = NightState(night=NIGHT, started_at=BEGAN.isoformat(), ids=ids, listed=True, state="stopped")
    folder.save(state.model_copy(update={"reason": "Stopped by SIGTERM."}))
    rng = np.random.default_rng(1)
    for chunk, first in enumerate(range(0, calls, CHUNK)):
        count = min(CHUNK, calls - first)
        path = folder.parts / CALLS / part_name(chunk)
        write_part(path, _part(rng, np.arange(first, first + count)))


def _part(rng: np.random.Generator, places: np.ndarray) -> pa.Table:
    """Calls at the quota's pace; one in fifty has to be made again, one in a hundred is unknown."""
    count = len(places)
    dice = rng.random(count)
    outcome = np.select([dice < 0.02, dice < 0.03], [Outcome.RETRIED, Outcome.ABSENT], Outcome.EXPORTED)
    columns = {
        "customer_id": 300_000_000 + places,
        "fetched_at": int(BEGAN.timestamp() * 1e6) + (places * (60e6 / A_MINUTE)).astype(np.int64),
        "outcome": outcome,
        "status": np.where(outcome == Outcome.RETRIED, 503, 200),
        "reason_code": np.where(outcome == Outcome.RETRIED, 503, 0),
        "latency_us": rng.lognormal(np.log(120_000), 0.5, count),
        "_record": places,
    }
    arrays = [
        pa.array(columns.get(field.name, np.zeros(count)).astype(field.type.to_pandas_dtype()), field.type)
        for field in CALLS_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=CALLS_SCHEMA)


if __name__ == "__main__":
    main(int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000)
