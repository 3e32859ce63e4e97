from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

# The fixtures import what draws: most tests do without, and torch takes seconds.
if TYPE_CHECKING:
    from stable_diffusion.models import Model
    from tests.support.studio import Studio


@pytest.fixture(scope="session")
def demo() -> Model:
    from tests.support import studio

    return studio.demo_model()


@pytest.fixture(scope="session")
def studio(demo: Model) -> Iterator[Studio]:
    from tests.support.studio import Studio

    studio = Studio(demo)
    yield studio
    studio.close()


@pytest.fixture(scope="session")
def classic(demo: Model) -> Studio:
    from tests.support import studio

    return studio.classic(demo)
