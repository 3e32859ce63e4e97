from __future__ import annotations

import os
from typing import Any

import pytest

# Whether a checker was downloaded makes no difference to tests.
os.environ["SAFETY_CHECKER"] = "off"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests of a file run in one process, where processes share the work.

    What a module starts is started once so. There is one Ray cluster at a time. A file whose tests
    run on both databases is two; a test that names a group runs with the others of it.
    """
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue
        group = "ray" if item.get_closest_marker("slow") else item.location[0]
        callspec: Any = getattr(item, "callspec", None)
        if callspec and "everywhere" in callspec.params:
            group += f" on {callspec.params['everywhere']}"
        item.add_marker(pytest.mark.xdist_group(group))
