"""The files of the web form as they travel: compressed, the JavaScript without its comments."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from rjsmin import jsmin
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

FORM = Path(__file__).parents[2] / "form"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's content security policy."""
MOST_FILES = 256
"""Files that are kept in memory as they travel; more than there are."""


class FormFiles(StaticFiles):
    """Files that browsers keep, but ask for anew: a new version must not meet an old one."""

    def file_response(
        self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return the answer that has a file."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        if Path(full_path).suffix == ".js":
            response = _script(str(full_path), stat_result.st_mtime, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def _script(path: str, changed_at: float, scope: Scope) -> Response:
    code, tag = _stripped(path, changed_at)
    response = Response(code, media_type="text/javascript", headers={"etag": tag})
    if Headers(scope=scope).get("if-none-match") in (tag, f"W/{tag}"):
        return NotModifiedResponse(response.headers)
    return response


@lru_cache(MOST_FILES)
def _stripped(path: str, changed_at: float) -> tuple[str, str]:  # noqa: ARG001
    """Return a script without comments and indentation, and its tag for browsers' caches."""
    code = str(jsmin(Path(path).read_text("utf-8")))
    return code, f'"{hashlib.sha256(code.encode()).hexdigest()[:32]}"'
