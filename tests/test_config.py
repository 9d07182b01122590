"""The config: what is read from where, and that every mistake is told, all at once, without a secret in it."""

from __future__ import annotations

import itertools
import os
import sys
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import (
    ApiParams,
    Config,
    QuotaConfig,
    allows_http,
    load_config,
    parse_assignment,
    parse_clock_time,
)
from pipeline.errors import Exit, UsageError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
TABLES = ("customers", "profiles", "loyalty_programs")
SECRET = "hunter2-and-more"


class Maker:
    """Writes configs into a folder and loads them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "nightly.yaml"

    def load(
        self, text: str = "", *, environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None
    ) -> Config:
        """The smallest config there is, with this text behind it."""
        smallest = """
api: {host: "https://eu.api.capillarytech.com", auth: {kind: basic, till: till.01, password_env: CAP_PASSWORD}}
ids: {paths: [ids.csv]}
"""
        return self.load_whole(smallest + text, environ=environ, flags=flags)

    def load_whole(
        self, text: str, *, environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None
    ) -> Config:
        self.path.write_text(text)
        return load_config(self.path, environ=environ or {}, flags=flags, tables=TABLES)

    def mistakes(self, text: str, *, whole: bool = False, **more: Any) -> list[str]:
        """The lines that tell what is wrong."""
        with pytest.raises(UsageError) as caught:
            self.load_whole(text, **more) if whole else self.load(text, **more)
        assert caught.value.exit_code is Exit.USAGE
        heading, *lines = caught.value.message.splitlines()
        assert heading == f"{len(lines)} mistake{'s' * (len(lines) != 1)} in the config {self.path}:"
        return [line.strip() for line in lines]

    def api(self, **api: Any) -> str:
        """A whole config with these keys of `api` changed; None takes one out."""
        auth = {"kind": "basic", "till": "till.01", "password_env": "CAP_PASSWORD"}
        keys = {"host": "https://eu.api.capillarytech.com", "auth": auth} | api
        given = {name: value for name, value in keys.items() if value is not None}
        return yaml.safe_dump({"api": given, "ids": {"paths": ["ids.csv"]}})


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_ready_made_config_loads(path: Path) -> None:
    """What lies in configs/ is right, key by key."""
    config = load_config(path, environ={}, tables=TABLES)
    assert config.api.auth.kind == "basic"
    assert Path(config.output.url).is_absolute()


def test_there_are_ready_made_configs() -> None:
    """The test above had something to test."""
    assert [path.name for path in CONFIGS] == ["demo.yaml", "nightly.example.yaml"]


def test_defaults_are_safe(make: Maker) -> None:
    """The smallest config has the quota that every brand has, and writes beside itself."""
    config = make.load()
    assert [(limit.calls, limit.per_s) for limit in config.quota.limits] == [(60, 60)]
    assert config.output.url == str(make.path.parent / "export")
    assert config.work.path == make.path.parent / "work"
    assert config.ids.paths == [str(make.path.parent / "ids.csv")]
    assert config.window.until is None


TEN_MISTAKES = """
api:
  host: http://eu.api.capillarytech.com
  auth: {kind: basic, till: till.01, password: hunter2-and-more}
  source: mobile_app
  embed: [points, tiers]
  timeout_s: 0
ids: {paths: [], colum: id}
quota: {limits: [{calls: 0}]}
window: {timezone: Asia/Bombay-ish}
output: {tables: [profile]}
"""


def test_ten_mistakes_are_told_at_once(make: Maker) -> None:
    """Each with its path, and with the value and what is allowed where that helps; rules between keys too."""
    told = make.mistakes(TEN_MISTAKES, whole=True)
    wanted = [
        "api.host = 'http://eu.api.capillarytech.com': must be https; http is allowed to loopback only",
        "api.auth.password: no such key; did you mean password_env?",
        "api.auth: needs exactly one of password_env, password_file and password_command",
        "api.account_id: is missing: the source MOBILE_APP needs one",
        "api.embed: tiers is not documented; known are points, subscriptions",
        "api.timeout_s = 0: must be greater than 0",
        "ids.paths: must not be empty",
        "ids.colum: no such key; did you mean column?",
        "quota.limits.0.calls = 0: must be greater than or equal to 1",
        "window.timezone = 'Asia/Bombay-ish': must be a time zone's name, such as Asia/Kolkata",
        "output.tables: there is no table profile (did you mean profiles?)",
    ]
    for start in wanted:
        assert [line for line in told if line.startswith(start)], start
    assert len(told) == len(wanted)
    assert SECRET not in "".join(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("quota: {max_in_flght: 3}", "quota.max_in_flght: no such key; did you mean max_in_flight?"),
        ("quotas: {max_in_flight: 3}", "quotas: no such key; did you mean quota?"),
        ("max_in_flight: 3", "max_in_flight: no such key; did you mean quota.max_in_flight?"),
        ("quota: {limits: [{callz: 3, calls: 3}]}", "quota.limits.0.callz: no such key; did you mean calls?"),
        ("quota: {max_in_flight: 2.5}", "quota.max_in_flight = 2.5: must be a whole number"),
        ("retry: {max_attempts: yes}", "retry.max_attempts = True: must be a whole number"),
        (
            "retry: {max_wait_s: 1h30m}",
            "retry.max_wait_s = '1h30m': must be a number of seconds, or a duration",
        ),
        ("retry: {max_wait_s: .inf}", "retry.max_wait_s = inf: must be a finite number"),
        ("retry: {max_wait_s: -1}", "retry.max_wait_s = -1: must be greater than or equal to 0"),
        ("quota: {limits: [{calls: 1, per_s: .nan}]}", "quota.limits.0.per_s = nan: must be a finite number"),
        ("window: {until: '24:00'}", "window.until = '24:00': must be a time of day as HH:MM, such as 05:30"),
        ("window: {until: 1350}", "window.until = 1350: must be a time of day"),
        ("window: {until: 22:30Z}", "window.until = '22:30Z': must be a time of day"),
        ("window: {timezone: 5}", "window.timezone = 5: must be text: put it in quotes"),
        ("window: [22:30]", "window: must be a mapping of keys"),
        ("work:", "work: must be a mapping of keys"),
        ("work: {keep_nights: 0}", "work.keep_nights = 0: must be greater than or equal to 1"),
        (
            "output: {url: 'ftp://host/x'}",
            "output.url = 'ftp://host/x': must be a folder, file:///folder, or a",
        ),
        ("output: {url: 's3:///x'}", "output.url = 's3:///x': must be a folder, file:///folder, or a bucket"),
        ("output: {url: 's3://key:word@b/x'}", "output.url = 's3://…@b/x': must hold no key, user or query"),
        (
            "output: {url: 'az://b/x?sig=1'}",
            "output.url = 'az://b/x?…': must hold no key, user or query: credentials",
        ),
        ("output: {grace: 8d}", "output.grace = 691200.0: must be less than or equal to 604800"),
        ("output: {url: ''}", "output.url = '': must not be empty"),
        ("output: {tables: profiles}", "output.tables = 'profiles': must be 'all' or must be a list"),
        (
            "output: {compression: zip}",
            "output.compression = 'zip': must be 'zstd', 'snappy', 'gzip', 'lz4' or 'none'",
        ),
        ("7: x", "7 = 7: is no key"),
    ],
)
def test_a_mistake_names_key_value_and_what_is_allowed(make: Maker, text: str, told: str) -> None:
    """One line each, in words that a person on call understands."""
    (line,) = make.mistakes(text)
    assert line.startswith(told)


@pytest.mark.parametrize(
    ("api", "told"),
    [
        ({"host": "ftp://x"}, "api.host = 'ftp://x': must be a URL"),
        ({"host": "https://"}, "api.host = 'https://': must be a URL"),
        ({"host": "https://x:99999"}, "api.host = 'https://x:99999': Port out of range"),
        ({"host": "https://x/?a=b"}, "api.host = 'https://x/?…': must be a plain URL"),
        ({"host": "http://10.0.0.1"}, "api.host = 'http://10.0.0.1': must be https"),
        (
            {"host": "http://localhost.evil.example"},
            "api.host = 'http://localhost.evil.example': must be https",
        ),
        ({"auth": {"kind": "token"}}, "api.auth: kind must be basic or oauth"),
        ({"auth": {"till": "t"}}, "api.auth: kind is missing: basic or oauth"),
        ({"auth": "x"}, "api.auth: must be a mapping of keys"),
        (
            {"auth": {"kind": "basic", "till": "a:b", "password_env": "P"}},
            "api.auth.till = 'a:b': must be without",
        ),
        ({"source": "WEB"}, "api.account_id: is missing: the source WEB needs one"),
        (
            {"embed": ["points"], "params": {"gapToUpgrade": 0}},
            "api.params: gapToUpgrade and gapToRenew need mlp",
        ),
        ({"params": {"gapToUpgrad": 0}}, "api.params.gapToUpgrad: no such key; did you mean gapToUpgrade?"),
        ({"params": {"ug2Limit": 101}}, "api.params.ug2Limit = 101: must be less than or equal to 100"),
    ],
)
def test_a_mistake_in_api_is_told(make: Maker, api: dict[str, Any], told: str) -> None:
    """Hosts, ways to authenticate, and the rules between source, embed and parameters."""
    (line,) = make.mistakes(make.api(**api), whole=True)
    assert line.startswith(told)


@pytest.mark.parametrize(
    "api",
    [
        {"host": "http://127.0.0.1:8080"},
        {"host": "http://[::1]:8080"},
        {"host": "http://localhost"},
        {"source": "all"},
        {"source": "web_engage", "account_id": "123"},
        {"embed": ["TIERS"], "allow_unknown_embed": True},
        {"embed": ["points", "MLP"], "params": {"gapToUpgrade": 0}},
        {"params": {"gapToUpgrade": 0}},
        {"embed": []},
    ],
)
def test_what_is_allowed_loads(make: Maker, api: dict[str, Any]) -> None:
    """The other side of each rule."""
    assert make.load_whole(make.api(**api)).api.host.startswith("http")


def test_a_trailing_slash_and_small_letters_are_put_right(make: Maker) -> None:
    """Host and source stand as the client wants them."""
    config = make.load_whole(make.api(host="https://x.example/", source="instore"))
    assert (config.api.host, config.api.source) == ("https://x.example", "INSTORE")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "the key 'c' is given twice at line 3, column 3"),
        ("a: 1\na: 2\n", "the key 'a' is given twice at line 1"),
        (f"api: {{auth: {{password: {SECRET}\n", "expected ',' or '}'"),
        ("a: \t- b", "line 1"),
    ],
)
def test_what_is_no_yaml_is_told_without_the_line(make: Maker, text: str, problem: str) -> None:
    """The place and the problem; not the text itself, where a secret may stand."""
    with pytest.raises(UsageError, match="is not YAML") as caught:
        make.load_whole(text)
    assert problem in str(caught.value)
    assert str(make.path) in caught.value.message
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing", "- a\n- b", "just words", "5"])
def test_what_is_no_mapping_is_told(make: Maker, text: str) -> None:
    """An empty file, a list, a word."""
    with pytest.raises(UsageError, match="empty, or not a mapping"):
        make.load_whole(text)


def test_a_config_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Missing, a folder, or no text: each named with its path."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, problem in (("missing", "There is no config"), ("", "directory"), ("binary", "not UTF-8")):
        with pytest.raises(UsageError, match=problem) as caught:
            load_config(tmp_path / name, environ={})
        assert str(tmp_path) in caught.value.message


def test_merge_keys_work(make: Maker) -> None:
    """YAML's `<<` is no key given twice, and no unknown tag."""
    config = make.load("quota: &q {max_in_flight: 7}\nwork: {<<: {keep_nights: 3}, path: w}\n")
    assert (config.quota.max_in_flight, config.work.keep_nights) == (7, 3)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("22:30", time(22, 30)),
        ("5:30", time(5, 30)),
        ('"05:30"', time(5, 30)),
        ("00:00", time(0)),
        ("22:30:15", time(22, 30, 15)),
        ("1:00:00", time(1)),
    ],
)
def test_a_clock_time_needs_no_quotes(make: Maker, written: str, meant: time) -> None:
    """YAML 1.1 takes 22:30 for 1,350; here it is a time."""
    assert make.load(f"window: {{until: {written}}}").window.until == meant


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("12h", 43_200), ("90m", 5400), ("30s", 30), ("2d", 172_800), ("1.5h", 5400), ("45", 45)],
)
def test_durations(make: Maker, written: str, seconds: float) -> None:
    """With a unit, or in seconds without one."""
    assert make.load(f"retry: {{fresh_for: {written}}}").retry.fresh_for == seconds


def test_environment_beats_the_file_and_flags_beat_both(make: Maker) -> None:
    """File, then environment, then flags; strangers' variables are left alone."""
    environ = {
        "CAPILLARY_EXPORT__QUOTA__MAX_IN_FLIGHT": "32",
        "CAPILLARY_EXPORT__RETRY__MAX_ATTEMPTS": "9",
        "CAPILLARY_EXPORT__QUOTA__LIMITS": "[{calls: 5, per_s: 1}, {calls: 100, per_s: 1h}]",
        "CAPILLARY_EXPORT__API__PARAMS__GAPTOUPGRADE": "0",
        "CAPILLARY_EXPORTER": "x",
        "HOME": "/root",
    }
    config = make.load("quota: {max_in_flight: 8}", environ=environ, flags={"retry.max_attempts": 3})
    assert (config.quota.max_in_flight, config.retry.max_attempts) == (32, 3)
    assert [limit.per_s for limit in config.quota.limits] == [1, 3600]
    assert config.api.params.gapToUpgrade == 0


def test_text_from_the_environment_stays_text(make: Maker) -> None:
    """A till 001 is not the number 1, an account 12 not a number at all, and null is nothing."""
    environ = {
        "CAPILLARY_EXPORT__API__AUTH__TILL": "001",
        "CAPILLARY_EXPORT__API__ACCOUNT_ID": "12",
        "CAPILLARY_EXPORT__WORK__PATH": "2026",
        "CAPILLARY_EXPORT__IDS__COLUMN": "3",
        "CAPILLARY_EXPORT__WINDOW__TIMEZONE": "null",
        "CAPILLARY_EXPORT__OUTPUT__KEEP_OFFSETS": "true",
    }
    config = make.load(environ=environ)
    assert (config.api.auth.model_dump()["till"], config.api.account_id) == ("001", "12")
    assert (config.work.path.name, config.ids.column, config.window.timezone) == ("2026", 3, None)
    assert config.output.keep_offsets is True


def test_mistakes_say_which_variable_or_flag_they_came_from(make: Maker) -> None:
    """Unknown keys, wrong values, and values deep inside one that was set whole."""
    environ = {
        "CAPILLARY_EXPORT__QUOTA__MAX_FLIGHT": "3",
        "CAPILLARY_EXPORT__QUOTA__LIMITS": "[{calls: 0}]",
        "CAPILLARY_EXPORT__NONSENSE": "x",
    }
    told = make.mistakes("", environ=environ, flags={"retry.max_attempts": "many"})
    assert sorted(line.split(":")[0] for line in told) == [
        "nonsense (from CAPILLARY_EXPORT__NONSENSE)",
        "quota.limits.0.calls = 0 (from CAPILLARY_EXPORT__QUOTA__LIMITS)",
        "quota.max_flight (from CAPILLARY_EXPORT__QUOTA__MAX_FLIGHT)",
        "retry.max_attempts = 'many' (from --set)",
    ]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("quota.max_in_flight=32", ("quota.max_in_flight", 32)),
        ("api.auth.till=a=b", ("api.auth.till", "a=b")),
        ("api.account_id=007", ("api.account_id", "007")),
        ("api.embed=[points, mlp]", ("api.embed", ["points", "mlp"])),
        ("window.until=22:30", ("window.until", "22:30")),
        ("window.until=null", ("window.until", None)),
        ("output.url=a: b", ("output.url", "a: b")),
        ("work.path=[", ("work.path", "[")),
    ],
)
def test_assignments(text: str, parsed: tuple[str, object]) -> None:
    """`--set key.path=value` takes YAML, and plain text where the key does."""
    assert parse_assignment(text) == parsed


@pytest.mark.parametrize("text", ["quota", "=5", "  =5"])
def test_an_assignment_without_key_or_value_is_told(text: str) -> None:
    """The form that is expected is shown."""
    with pytest.raises(UsageError, match=r"key\.path=value"):
        parse_assignment(text)


def test_until_on_the_command_line() -> None:
    """HH:MM, and nothing that only looks like it."""
    assert parse_clock_time("05:30") == time(5, 30)
    for text in ("1350", "25:00", "5", "", "05:30+02:00", "noon"):
        with pytest.raises(UsageError, match="HH:MM"):
            parse_clock_time(text)


def test_paths_are_relative_to_the_config(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to where the command is called; absolute ones, home folders and standard input stay what they are."""
    monkeypatch.setenv("HOME", "/srv/someone")
    monkeypatch.chdir("/")
    config = make.load_whole(
        "api: {host: 'https://x.example', auth: {kind: basic, till: t, password_file: secrets/cap}}\n"
        "ids: {paths: ['../ids/*.csv', /abs/x.csv, ~/x.csv, '-']}\n"
        "output: {url: 'file:///exports'}\nwork: {path: ./w/../work}\n"
    )
    here = make.path.parent
    assert config.ids.paths == [str(here.parent / "ids/*.csv"), "/abs/x.csv", "/srv/someone/x.csv", "-"]
    assert (config.output.url, config.work.path) == ("/exports", here / "work")
    assert config.api.auth.model_dump()["password_file"] == here / "secrets/cap"


@pytest.mark.parametrize(
    "url", ["s3://bucket/x", "gs://bucket", "az://container/x", "abfss://box@account.dfs.core.windows.net/x"]
)
def test_an_object_store_is_named_by_its_url(make: Maker, url: str) -> None:
    """It is no path: it stays as it is, but for a slash at its end."""
    assert make.load(f"output: {{url: '{url}/'}}").output.url == url


@pytest.mark.parametrize(
    ("environ", "allowed"),
    [
        ({}, False),
        ({"AWS_ENDPOINT_URL": "https://store.example"}, False),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:8333"}, True),
        ({"AWS_ENDPOINT_URL": "http://store.example"}, False),
        ({"AWS_ENDPOINT_URL": "http://localhost", "AWS_ENDPOINT_URL_S3": "http://store.example"}, False),
        ({"AWS_ENDPOINT_URL": "http://store.example", "AWS_ALLOW_HTTP": "true"}, True),
    ],
)
def test_http_to_an_object_store_is_for_this_machine(environ: dict[str, str], allowed: bool) -> None:
    """Elsewhere somebody has to say so."""
    assert allows_http(environ) is allowed


def test_a_home_folder_that_is_not_there_is_told(make: Maker) -> None:
    """An unknown user is the config's mistake, not a bug."""
    with pytest.raises(UsageError, match="no home folder for ~nobody-of-this-name"):
        make.load("work: {path: ~nobody-of-this-name/x}")


# Secrets


def with_secret(make: Maker, **source: Any) -> Config:
    return make.load_whole(make.api(auth={"kind": "oauth", "key": "client", **source}))


def test_a_secret_comes_from_environment_file_or_command(make: Maker) -> None:
    """The white space around it, such as a file's last line end, is no part of it; nor is it of any repr."""
    (make.path.parent / "secret").write_text(f"{SECRET}\n")
    (make.path.parent / "program.py").write_text(f"print({SECRET!r})")
    command = [sys.executable, str(make.path.parent / "program.py")]
    for source in ({"secret_env": "S"}, {"secret_file": "secret"}, {"secret_command": command}):
        config = with_secret(make, **source)
        found = config.secret({"S": SECRET})
        assert found.get_secret_value() == SECRET
        for shown in (repr(found), repr(config), config.model_dump_json(), config.sha256()):
            assert SECRET not in shown


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"secret_env": "S"}, "api.auth.secret_env names S, but that variable is not set"),
        ({"secret_file": "missing"}, "api.auth.secret_file: cannot read"),
        ({"secret_file": "empty"}, "empty is empty"),
        ({"secret_file": "binary"}, "not text"),
        ({"secret_command": ["no-such-program-here"]}, "no-such-program-here: No such file"),
        ({"secret_command": [sys.executable, "-c", "print()"]}, "printed nothing"),
        ({"secret_command": [sys.executable, "-c", f"print('{SECRET}'); exit(3)"]}, "ended with exit code 3"),
        (
            {"secret_command": [sys.executable, "-c", "import os; os.write(1, b'\\xff')"]},
            "its output is not text",
        ),
    ],
)
def test_a_secret_that_cannot_be_had_is_told(make: Maker, source: dict[str, Any], told: str) -> None:
    """Which key, and why; never what the file or the command gave."""
    (make.path.parent / "empty").write_text("\n")
    (make.path.parent / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError) as caught:
        with_secret(make, **source).secret({})
    assert told in caught.value.message
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_command_does_not_read_our_standard_input(make: Maker) -> None:
    """The customer IDs may come from there: the command finds it empty."""
    program = "import sys; print('nothing' if not sys.stdin.read() else 'something')"
    read_end, write_end = os.pipe()
    os.write(write_end, b"4711\n")
    os.close(write_end)
    ours = os.dup(0)
    os.dup2(read_end, 0)
    try:
        found = with_secret(make, secret_command=[sys.executable, "-c", program]).secret({})
    finally:
        os.dup2(ours, 0)
        os.close(ours)
        os.close(read_end)
    assert found.get_secret_value() == "nothing"


@pytest.mark.parametrize(
    "auth",
    [
        {"kind": "basic", "till": "t", "password": SECRET, "password_env": "P"},
        {"kind": "basic", "till": "t", "password_env": SECRET},
        {"kind": "basic", "till": "t", "password_file": [SECRET]},
        {"kind": "basic", "till": "t", "password_command": SECRET},
        {"kind": "oauth", "key": "k", "secret_env": f"{SECRET}!", "secret_file": SECRET},
        {"kind": SECRET},
        SECRET,
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(make: Maker, auth: Any) -> None:
    """Whoever writes the secret itself into the config finds it in no message."""
    assert SECRET not in "".join(make.mistakes(make.api(auth=auth), whole=True))
    assert SECRET not in "".join(make.mistakes(make.api(host=f"https://user:{SECRET}@x.example"), whole=True))


@given(
    st.dictionaries(
        st.sampled_from(sorted(ApiParams.model_fields)), st.none() | st.booleans() | st.integers() | st.text()
    )
)
def test_any_parameters_load_or_are_told(
    tmp_path_factory: pytest.TempPathFactory, params: dict[str, Any]
) -> None:
    """Whatever stands in `params`, it ends in a config or in mistakes that name `api.params`."""
    make = Maker(tmp_path_factory.mktemp("config"))
    try:
        config = make.load_whole(make.api(params=params))
    except UsageError as exc:
        assert all(
            line.startswith("  api.params")
            for line in exc.message.splitlines()[1:]
            if line.startswith("  api")
        )
        assert "api.params" in exc.message
    else:
        assert set(config.api.params.model_fields_set) == set(params)


CALENDAR = """
calendar:
  - {from: "22:00", to: "06:00", days: [fri], limits: [{calls: 3000}]}
  - {from: "20:00", to: "06:00", limits: [{calls: 2000}]}
limits: [{calls: 100}]
reserved_share: 0.2
"""


@pytest.mark.parametrize(
    ("day", "clock", "calls"),
    [
        (27, "21:59", 1600),  # a Friday
        (27, "22:00", 2400),
        (28, "05:59", 2400),  # Friday's night, on Saturday morning
        (28, "06:00", 80),
        (28, "22:00", 1600),
        (29, "05:59", 1600),
    ],
)
def test_the_calendar_gives_other_limits_by_hour(day: int, clock: str, calls: int) -> None:
    """By the clock of the window's zone; hours past midnight belong to the day on which they began."""
    quota = QuotaConfig.model_validate(yaml.safe_load(CALENDAR))
    zone = ZoneInfo("Asia/Kolkata")
    moment = datetime.combine(date(2026, 11, day), time.fromisoformat(clock), zone)
    assert [limit.calls for limit in quota.limits_at(moment.astimezone(UTC), zone)] == [calls]


def test_spans_tell_every_change_and_leave_no_gap() -> None:
    """A window over two nights: each stretch with its limits, from the first moment to the last."""
    quota = QuotaConfig.model_validate(yaml.safe_load(CALENDAR))
    start, end = datetime(2026, 11, 27, 15, tzinfo=UTC), datetime(2026, 11, 28, 21, tzinfo=UTC)
    spans = list(quota.spans(start, end, ZoneInfo("UTC")))
    assert [(one.day, one.hour, limits[0].calls) for one, _, limits in spans] == [
        (27, 15, 80),
        (27, 20, 1600),
        (27, 22, 2400),
        (28, 6, 80),
        (28, 20, 1600),
    ]
    assert spans[0][0] == start
    assert spans[-1][1] == end
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))


def test_a_share_too_large_leaves_one_call() -> None:
    """A reserve never stops the night altogether; none changes nothing."""
    quota = QuotaConfig.model_validate({"limits": [{"calls": 2}], "reserved_share": 0.9})
    assert quota.limits_at(datetime.now(UTC), None)[0].calls == 1
    assert QuotaConfig().limits_at(datetime.now(UTC), None)[0].calls == 60
