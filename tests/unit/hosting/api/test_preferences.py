from __future__ import annotations

import pytest

from hosting.api import preferences


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], {}),
        (["wait"], {"wait": ""}),
        (["wait=5"], {"wait": "5"}),
        (["WAIT=5"], {"wait": "5"}),
        (["Wait = 5"], {"wait": "5"}),
        (['wait="5"'], {"wait": "5"}),
        (["respond-async, wait=5"], {"respond-async": "", "wait": "5"}),
        (["respond-async", "wait=5"], {"respond-async": "", "wait": "5"}),
        (["wait=5; foo=1, handling=lenient"], {"wait": "5", "handling": "lenient"}),
        (["wait=5, wait=10"], {"wait": "5"}),
        (["await=5, handling=wait"], {"await": "5", "handling": "wait"}),
    ],
)
def test_preferences_are_read_as_the_standard_has_them(
    headers: list[str], expected: dict[str, str]
) -> None:
    assert preferences.read(headers) == expected
