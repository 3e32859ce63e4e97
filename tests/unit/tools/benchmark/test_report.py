from __future__ import annotations

import json
import re

import pytest

from cog_schema.schema import ROOT
from tools.benchmark import report

DOCUMENTATION = (ROOT / "docs" / "performance.md").read_text()
CITED = sorted(set(re.findall(r"benchmarks/([\w.-]+\.json)", DOCUMENTATION)))


def test_files_are_cited() -> None:
    assert CITED


@pytest.mark.parametrize("name", CITED)
def test_what_the_documentation_says_was_measured_is_in_its_file(name: str) -> None:
    results = json.loads((ROOT / "benchmarks" / name).read_text())
    assert "\n".join(report.table(results)) in DOCUMENTATION
