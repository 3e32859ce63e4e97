from __future__ import annotations

import os
import subprocess
import sys

from cog_schema.schema import ROOT
from tests.support.distribution import RAY, group_of

TESTS = "tests/integration/hosting/queue/test_watch.py"


def test_a_files_tests_are_one_group_and_those_on_a_database_another() -> None:
    assert group_of(f"{TESTS}::test_a") == group_of(f"{TESTS}::test_b[1-x]") == TESTS
    assert group_of(f"{TESTS}::test_a[sqlite]") == group_of(f"{TESTS}::test_b[sqlite-1]")
    assert group_of(f"{TESTS}::test_a[sqlite]") != group_of(f"{TESTS}::test_a[postgresql]")


def test_whatever_starts_ray_is_one_group() -> None:
    options = ("--collect-only", "-q", "-m", "slow", "tests/acceptance")
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "-o", "addopts=--import-mode=importlib", *options],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    slow = [line for line in listed.splitlines() if "::" in line]
    assert len(slow) > 100
    assert {group_of(nodeid) for nodeid in slow} == {RAY}
