"""How the API was on the last nights: its latency, the length of its answers, how often it failed and in what way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.fetch.outcomes import Trouble
from pipeline.outcome import VERDICTS, Outcome
from pipeline.store.ledger import calls_parts
from pipeline.store.parts import read_part
from pipeline.store.workspace import NightFolder, Workspace

NIGHTS = 7
MOST_CHUNKS = 60
"""So many journal chunks of the last nights are looked at, evenly spaced: half a million calls."""
FEW_CALLS = 100
QUANTILES = 41
LEAST_SHARE = 0.0001
"""What is rarer would not happen in a rehearsal."""

Columns = dict[str, npt.NDArray[Any]]

FIRST_NIGHT_LATENCIES_S = (0.1, 0.14, 0.17, 0.2, 0.23, 0.27, 0.35, 0.5)
FIRST_NIGHT_FAULTS = {"500": 0.005, "reset": 0.001}


@dataclass(frozen=True)
class Climate:
    """Quantiles go evenly from the least to the most. `faults` are shares of calls, under the sandbox's names;
    `verdicts` shares of IDs. `nights` is 0 where nothing is known: then all is assumed.
    """

    nights: int = 0
    calls: int = 0  # that were looked at
    latencies_s: tuple[float, ...] = FIRST_NIGHT_LATENCIES_S
    body_bytes: tuple[int, ...] = ()
    faults: Mapping[str, float] = field(default_factory=lambda: dict(FIRST_NIGHT_FAULTS))
    verdicts: Mapping[Outcome, float] = field(default_factory=lambda: {Outcome.EXPORTED: 1.0})

    @property
    def mean_latency_s(self) -> float:
        """Of a call that was answered."""
        first, *_, last = self.latencies_s
        return (sum(self.latencies_s) - (first + last) / 2) / (len(self.latencies_s) - 1)

    def latency_s(self, share: float) -> float:
        """The latency that `share` of the calls stay below."""
        return float(np.interp(share, np.linspace(0, 1, len(self.latencies_s)), self.latencies_s))

    def fault_plan(self, speed: float) -> str:
        """The same for the sandbox, its times divided by `speed`."""
        latency = "/".join(f"{one * 1000 / speed:.3f}ms" for one in self.latencies_s)
        rules = [f"latency={latency}"]
        rules += [f"pad={'/'.join(f'{one}B' for one in self.body_bytes)}"] if self.body_bytes else []
        rules += [f"{name}={share * 100:.4f}%" for name, share in self.faults.items()]
        return ", ".join(rules)


def climate_of(workspace: Workspace) -> Climate:
    """What the last nights' journals say. Reads some of their parts, changes nothing. Raises StorageError."""
    nights = [folder for folder in workspace.nights()[-NIGHTS:] if calls_parts(folder.parts)]
    calls = _some_calls(nights)
    if len(calls["outcome"]) < FEW_CALLS:
        return Climate()
    answered = calls["status"] == 200
    has_body = np.isin(calls["outcome"], [int(one) for one in Outcome if one.has_data])
    if not answered.any():
        return Climate()
    return Climate(
        nights=len(nights),
        calls=len(answered),
        latencies_s=tuple((_quantiles(calls["latency_us"][answered]) / 1e6).tolist()),
        body_bytes=tuple(_quantiles(calls["body_bytes"][has_body]).astype(int).tolist()),
        faults=_faults(calls),
        verdicts=_verdicts(calls["outcome"]),
    )


def _quantiles(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Empty where there are no values."""
    return np.quantile(values, np.linspace(0, 1, QUANTILES)) if len(values) else np.empty(0)


def _some_calls(nights: list[NightFolder]) -> Columns:
    paths = [path for folder in nights for path in calls_parts(folder.parts)]
    picked = paths[:: max(1, -(-len(paths) // MOST_CHUNKS))]
    names = ["outcome", "status", "reason_code", "latency_us", "body_bytes"]
    found: dict[str, list[npt.NDArray[Any]]] = {name: [np.empty(0, np.int64)] for name in names}
    for path in picked:
        for batch in read_part(path, names):
            for name in names:
                found[name].append(batch.column(name).to_numpy(zero_copy_only=False))
    return {name: np.concatenate(columns) for name, columns in found.items()}


def _faults(calls: Columns) -> dict[str, float]:
    """What went wrong with calls, as the sandbox can do it again. An outage is spread over the night."""
    status, code = calls["status"], calls["reason_code"]
    kinds = {
        "reset": code == Trouble.CONNECT,
        "hang": code == Trouble.TIMEOUT,
        "cut": code == Trouble.CUT,
        "429-bare": status == 429,
    }
    for one in np.unique(status[(status >= 500) & (status < 600)]).tolist():
        kinds[str(one)] = status == one
    shares = {name: float(np.count_nonzero(hit)) / len(status) for name, hit in kinds.items()}
    return {name: share for name, share in shares.items() if share >= LEAST_SHARE}


def _verdicts(outcomes: npt.NDArray[Any]) -> dict[Outcome, float]:
    """Shares of IDs. A failed one would have been answered."""
    counts = {one: int(np.count_nonzero(outcomes == one)) for one in VERDICTS}
    counts[Outcome.EXPORTED] += counts.pop(Outcome.FAILED)
    total = sum(counts.values())
    return {one: count / total for one, count in counts.items() if count}
