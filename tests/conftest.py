from __future__ import annotations

import os
from pathlib import Path

# Whether a checker was downloaded makes no difference to tests.
os.environ["SAFETY_CHECKER"] = "off"


def pytest_pycollect_makemodule(module_path: Path) -> None:
    """Set up hypothesis before a module that uses it; the others need not wait for its import."""
    if "hypothesis" in module_path.read_text():
        from tests.support import properties

        properties.set_up()
