"""A front and its Cog server, for modules that need them no other way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.front import Front, front
from tools.fake_cog import CogServer


@pytest.fixture(scope="module")
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer().served() as cog:
        cog.tell("bad", "fail")
        yield cog


@pytest.fixture(scope="module")
def one(cog: CogServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("front"), cog) as one:
        yield one
