"""The preferences that a request states by its headers `Prefer`.

Source: RFC 7240, https://www.rfc-editor.org/rfc/rfc7240.
"""

from __future__ import annotations

from collections.abc import Sequence


def read(prefer: Sequence[str]) -> dict[str, str]:
    """Return the values of preferences by their names, in lower case; empty where there is none.

    Of a name that comes twice the first counts. Parameters of preferences are left out.

    Args:
        prefer: each header `Prefer`, which may have several preferences.
    """
    found: dict[str, str] = {}
    for preference in ",".join(prefer).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name := name.strip().lower():
            found.setdefault(name, value.strip().strip('"'))
    return found
