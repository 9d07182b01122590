"""Runs inside an environment with Airflow, made by `make check-deploy`: imports the DAG as the scheduler does, and runs
its operator against programs that end with each exit code.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

DAGS = Path(__file__).parent.parent.parent / "deploy" / "airflow"
SAID = '{"night": "2026-11-24", "published": true, "folder": "export/snapshots/x"}'


def main() -> int:
    """Say what was found; 0 when all is well."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "AIRFLOW_HOME": folder,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
            "CAPILLARY_EXPORT_PROGRAM": f"{folder}/program",
            "CAPILLARY_EXPORT_CONFIG": f"{folder}/nightly.yaml",
        }
        dag = _imported()
        (task,) = dag.tasks
        assert (dag.max_active_runs, dag.catchup, task.retries) == (1, False, 8)
        for code in range(8):
            _check_code(task, Path(folder) / "program", code)
    sys.stdout.write("The DAG is imported, and its task ends rightly for each exit code.\n")
    return 0


def _imported() -> Any:
    import airflow
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS))
    assert not bag.import_errors, bag.import_errors
    sys.stdout.write(f"Airflow {airflow.__version__} finds the DAGs {sorted(bag.dags)}.\n")
    return bag.dags["capillary_export"]


def _check_code(task: Any, program: Path, code: int) -> None:
    """0 gives the program's JSON, what never passes is failed at once, the rest is tried again."""
    try:
        from airflow.sdk.exceptions import AirflowException, AirflowFailException
    except ImportError:
        from airflow.exceptions import AirflowException, AirflowFailException

    program.write_text(f"#!/bin/sh\necho 'some progress' >&2\necho '{SAID}'\nexit {code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    try:
        found = task.execute({})
    except AirflowFailException:
        ended = "failed at once"
    except AirflowException:
        ended = "tried again"
    else:
        assert found["published"]
        ended = "succeeded"
    wanted = {
        0: "succeeded",
        1: "failed at once",
        2: "failed at once",
        4: "failed at once",
        5: "failed at once",
    }
    assert ended == wanted.get(code, "tried again"), (code, ended)
    sys.stdout.write(f"exit code {code}: {ended}\n")


if __name__ == "__main__":
    sys.exit(main())
