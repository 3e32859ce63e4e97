from __future__ import annotations

import os
from pathlib import Path
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What a busy machine fails has another try, and is told of: servers, clients, the page."""
    unit = Path(__file__).with_name("unit")
    if config.pluginmanager.hasplugin("pytest_rerunfailures"):
        for item in items:
            if unit not in item.path.parents:
                item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Closes what pytest-rerunfailures leaves open, of which Python would complain at the end."""
    if connection := getattr(getattr(config, "failures_db", None), "sock", None):
        connection.close()
