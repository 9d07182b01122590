"""`output.format` and `output.catalog`: what is taken, and how a mistake is told."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import RestCatalogConfig
from pipeline.errors import UsageError
from pipeline.formats.delta import made_at_ms, run_number
from pipeline.formats.words import told
from tests.conftest import Home

REST = {"kind": "rest", "uri": "https://catalog.example/api"}


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"format": "hudi"}, "output.format"),
        ({"format": "delta", "catalog": REST}, "is for format: iceberg only"),
        ({"format": "iceberg", "url": "s3://b/x"}, "must be given where the tables lie in an object store"),
        ({"format": "iceberg", "catalog": {"kind": "hive"}}, "output.catalog"),
        ({"format": "iceberg", "catalog": {"kind": "sql"}}, "needs exactly one of uri and uri_env"),
        ({"format": "iceberg", "catalog": {"kind": "sql", "uri": "sqlite:///x.db"}}, "sqlite:////whole/path"),
        (
            {"format": "iceberg", "catalog": {"kind": "sql", "uri": "postgresql://me:hidden@db/x"}},
            "must hold no password",
        ),
        ({"format": "iceberg", "catalog": {**REST, "uri": "http://catalog.example"}}, "allow_http: true"),
        (
            {"format": "iceberg", "catalog": {**REST, "uri": "https://me:hidden@x"}},
            "must hold no user or password",
        ),
        (
            {"format": "iceberg", "catalog": {**REST, "token_env": "A", "credential_env": "B"}},
            "at most one of",
        ),
        ({"format": "iceberg", "catalog": {**REST, "namespace": "a/b"}}, "must be a name of letters"),
        (
            {"format": "iceberg", "catalog": {**REST, "properties": {"token": "hidden"}}},
            "must hold no secret",
        ),
    ],
)
def test_a_mistake_names_the_key_and_what_is_allowed(home: Home, output: dict[str, Any], said: str) -> None:
    """Before anything is started, and without the secret that stands where it should not."""
    home.settings["output"] = output
    home.save()
    with pytest.raises(UsageError) as caught:
        home.config()
    assert said in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_what_a_rest_catalog_is_told_of_us(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a variable or a file beside the config; one that is missing is exit code 2 before the first call."""
    from pipeline.formats import require

    (home.root / "token").write_text("a-token\n")
    home.settings["output"] = {"format": "iceberg", "catalog": {**REST, "token_file": "token"}}
    home.save()
    catalog = home.config().output.catalog
    assert isinstance(catalog, RestCatalogConfig)
    assert catalog.secret({}) == {"token": "a-token"}
    home.settings["output"]["catalog"] = {**REST, "credential_env": "NOWHERE"}
    home.save()
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(UsageError, match=r"output.catalog.credential_env names NOWHERE"):
        require(home.config())


def test_a_run_has_a_number_of_its_own() -> None:
    """Delta wants a whole number: a snapshot's digits and suffix, in the order of the names."""
    names = ["2026-11-22T051207Z", "2026-11-22T051207Z-02", "2026-11-22T051208Z"]
    assert [run_number(name) for name in names] == [2026112205120700, 2026112205120702, 2026112205120800]
    assert [made_at_ms(name) for name in names[1:]] == [1795324327000, 1795324328000]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://s3/x?X-Amz-Signature=abc failed\nand more", "ValueError: GET https://s3/x failed"),
        ("postgresql://me:secret@db/x is away", "ValueError: postgresql://…@db/x is away"),
        ("", "ValueError"),
    ],
)
def test_a_librarys_error_is_told_without_what_is_secret(text: str, shown: str) -> None:
    """Its first line, without signatures and passwords."""
    assert told(ValueError(text)) == shown
