"""A night as an Airflow DAG (Airflow 3). For workers that have the program and its workspace.

Exit codes decide: what may pass by itself is tried again (`run` goes on where it stopped), what does not fails at once.
Downstream tasks run when the night is live; the task's result is the JSON that `run --json` prints.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import DAG, BaseOperator

try:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
except ImportError:  # the first versions of Airflow 3 have them in one place only
    from airflow.exceptions import AirflowException, AirflowFailException

PROGRAM = os.environ.get("CAPILLARY_EXPORT_PROGRAM", "capillary-export")
CONFIG = os.environ.get("CAPILLARY_EXPORT_CONFIG", "nightly.yaml")
MEANINGS = {
    1: "a bug: please report it",
    2: "wrong use or config",
    3: "stopped before the end",
    4: "held: a check failed, the last snapshot stays live",
    5: "the API refuses us",
    6: "another run holds the workspace",
    7: "storage trouble",
}
PASSES_NEVER = (1, 2, 4, 5)


class NightOperator(BaseOperator):
    """Runs tonight's export, or goes on with it. Gives what `run --json` prints."""

    def execute(self, context: Any) -> dict[str, Any]:
        """Raises AirflowFailException where another try would end the same."""
        self.hook = SubprocessHook()
        words = [PROGRAM, "run", CONFIG, "--published-ok", "--json", "--quiet"]
        done = self.hook.run_command(words, cwd=str(Path(CONFIG).resolve().parent))
        if done.exit_code == 0:
            found: dict[str, Any] = json.loads(done.output)  # the last line, and stdout has one
            return found
        meaning = MEANINGS.get(done.exit_code, f"exit code {done.exit_code}")
        if done.exit_code in PASSES_NEVER:
            raise AirflowFailException(f"The export ended with {done.exit_code}: {meaning}.")
        raise AirflowException(f"The export ended with {done.exit_code}: {meaning}. The next try goes on.")

    def on_kill(self) -> None:
        """Calls under way end, the journal is closed: the next try goes on."""
        self.hook.send_sigterm()


with DAG(
    dag_id="capillary_export",
    description="Every customer's details, into Parquet",
    schedule="30 0 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Asia/Kolkata"),  # the same zone as window.timezone
    catchup=False,  # a night of the past cannot be fetched any more
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    tags=["capillary"],
):
    NightOperator(task_id="night", retries=8, retry_delay=timedelta(minutes=15))
