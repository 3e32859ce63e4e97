from __future__ import annotations

import pytest

from hosting.cluster.ingress import PATHS


@pytest.mark.parametrize(
    ("path", "is_relayed", "cancels"),
    [
        ("/", True, False),
        ("/openapi.json", True, False),
        ("/health-check", True, False),
        ("/predictions", True, False),
        ("/predictions/a", True, False),
        ("/predictions/a/cancel", True, True),
        ("/predictions/", False, False),
        ("/predictions/.", False, False),
        ("/predictions/..", False, False),
        ("/predictions/./cancel", False, False),
        ("/predictions/../cancel", False, False),
        ("/predictions/...", True, False),
        ("/predictions/.a/cancel", True, True),
        ("/predictions/a/b", False, False),
        ("/shutdown", False, False),
        ("//shutdown", False, False),
        ("/predictions/../shutdown", False, False),
        ("", False, False),
    ],
)
def test_only_what_clients_have_use_for_is_relayed(
    path: str, is_relayed: bool, cancels: bool
) -> None:
    known = PATHS.fullmatch(path)
    assert bool(known) is is_relayed
    assert bool(known and known["cancel"]) is cancels
