from __future__ import annotations

from tests.hosting.front import quick

__all__ = ["quick"]
