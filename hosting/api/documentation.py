"""The documentation of the whole API at `/docs`, by Swagger UI, shown without a network."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

OPENAPI = "/docs/openapi.json"
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Stable Diffusion: the API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="documentation"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
"""
START = f"""SwaggerUIBundle({{
  url: "{OPENAPI}", dom_id: "#documentation", deepLinking: true, persistAuthorization: false,
}});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)

routes = APIRouter(include_in_schema=False)


@routes.get("/docs")
async def page() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE, headers={"content-security-policy": POLICY})


@routes.get("/docs/start.js")
async def start() -> Response:
    """Return the script that starts Swagger UI: the page's policy allows none in the page."""
    return Response(START, media_type="text/javascript")


@routes.get("/docs/swagger-ui-bundle.js")
async def script() -> Response:
    """Swagger UI."""
    return _static("swagger-ui-bundle.js", "text/javascript")


@routes.get("/docs/swagger-ui.css")
async def style() -> Response:
    """Return the page's style."""
    return _static("swagger-ui.css", "text/css")


def _static(name: str, kind: str) -> Response:
    data = (resources.files("fastapi_offline") / "static" / name).read_bytes()
    return Response(data, media_type=kind, headers={"cache-control": "max-age=3600"})
