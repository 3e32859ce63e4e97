from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.distribution import ByWhatIsShared

# Whether a checker was downloaded makes no difference to tests.
os.environ["SAFETY_CHECKER"] = "off"

# Servers of tests draw a few pictures: to compile the model would take them longer.
os.environ["EXECUTOR"] = "plain"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByWhatIsShared:
    from tests.support.distribution import ByWhatIsShared

    return ByWhatIsShared(config, log)
