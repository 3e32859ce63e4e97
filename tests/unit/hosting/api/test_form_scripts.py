"""The form's scripts, which lose their comments on their way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rjsmin import jsmin

from hosting.api.form.static import FORM

SCRIPTS = sorted(FORM.glob("**/*.js"))
NESTED = re.compile(r"`[^`]*\$\{[^}`]*`")
"""A template within a template, of which rjsmin takes the text for code, and its spaces away."""
TEMPLATE = re.compile(r"`[^`]*`")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(FORM)))
def test_what_a_script_says_is_sent_as_it_was_written(path: Path) -> None:
    source = path.read_text()
    assert not NESTED.search(source), "write it without a template within a template"
    uncommented = re.sub(r"^\s*(//|\*|/\*).*$", "", source, flags=re.M)
    sent = str(jsmin(source))
    assert TEMPLATE.findall(sent) == TEMPLATE.findall(uncommented)


def test_a_template_within_a_template_is_found() -> None:
    assert NESTED.search('`${count} pictures${prompt ? ` of ${prompt}` : ""}`')
    assert not NESTED.search('`${one}` + (two ? `${two} and ` : "") + `three`')
