"""Where the kernel cannot be had, why is told, and everything goes by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import native
from pipeline.blocks import TABLES
from pipeline.jsontext import dump
from pipeline.normalize import answers
from pipeline.normalize.answers import Answers
from pipeline.normalize.kernel import library
from tests.blocks.bodies import full
from tests.normalize.test_kernel import OPTIONS, same


def why_not() -> str:
    return library.why_not.__wrapped__()


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the environment, for whoever mistrusts it."""
    monkeypatch.setenv(native.SWITCH, "Off")
    assert why_not() == "CAPILLARY_KERNEL=off"


def test_one_that_was_not_built_or_is_of_another_version_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No compiler, another source, no library at all: each is told in words."""
    monkeypatch.setattr(library, "VERSION", -1)
    assert "another version" in why_not() or "not built" in why_not()
    monkeypatch.setattr(library, "_built", lambda: None)
    assert "no C compiler" in why_not()
    broken = tmp_path / "_kernel.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(library, "_built", lambda: broken)
    assert "cannot be loaded" in why_not()


def test_without_it_the_same_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower."""
    found = []
    for has_kernel in (True, False):
        if not has_kernel:
            monkeypatch.setattr(answers, "kernel", lambda: None)
        collecting = Answers(TABLES, OPTIONS)
        collecting.add(1, dump(full()).encode(), (), 1, 1)
        found.append(collecting.drain())
    same(*found)
