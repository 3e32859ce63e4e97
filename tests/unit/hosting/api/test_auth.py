from __future__ import annotations

import pytest

from hosting.api.auth import token_in


@pytest.mark.parametrize("kind", ["Bearer", "Token", "bearer", "TOKEN"])
def test_a_token_comes_with_its_kind(kind: str) -> None:
    assert token_in(f"{kind} sd_text") == "sd_text"
    assert token_in(f"{kind}   sd_text ") == "sd_text"


@pytest.mark.parametrize("header", [None, "", "sd_text", "Basic sd_text", " Bearer sd_text"])
def test_without_a_kind_of_ours_there_is_none(header: str | None) -> None:
    assert token_in(header) is None


@pytest.mark.parametrize("header", ["Bearer", "Bearer "])
def test_a_kind_alone_has_an_empty_token(header: str) -> None:
    assert token_in(header) == ""
