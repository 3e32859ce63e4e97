"""The README says what is there."""

from __future__ import annotations

import re
from dataclasses import fields

from cog_schema.schema import ROOT
from hosting.settings import Settings

README = (ROOT / "README.md").read_text()


def test_it_has_every_setting_of_the_front_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \| ([^|]+) \|$", README, re.MULTILINE)
    assert rows == [
        (known.name.upper(), _shown(known.default), known.metadata["description"])
        for known in fields(Settings)
    ]


def test_each_link_within_the_project_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    }
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", README)
    assert len(links) > 10
    for link in links:
        path, _, heading = link.partition("#")
        assert (ROOT / path).exists(), link
        assert path or heading in headings, link


def _shown(default: object) -> str:
    if default in ("", ()):
        return ""
    return f"{default:g}" if isinstance(default, int | float) else "`data/`"
