"""What the tests of deaths share: a stage to die on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.sandbox import Sandbox, SandboxConfig
from tests.conftest import running_sandbox
from tests.death.disk import compiler
from tests.death.nights import CUSTOMERS, FIRST, Stage

needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="no C compiler (cc, gcc or clang) to build the faulty file layer with"
)


@pytest.fixture(scope="session")
def steady_sandbox() -> Iterator[Sandbox]:
    """A server whose answers depend on the ID alone."""
    with running_sandbox(
        SandboxConfig(customers=CUSTOMERS * 2, cached_bodies=CUSTOMERS * 3, day=FIRST)
    ) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, steady_sandbox: Sandbox) -> Stage:
    """Homes on two evenings, and what a quiet night makes of them."""
    return Stage(steady_sandbox, tmp_path_factory.mktemp("stage")).prepare()
