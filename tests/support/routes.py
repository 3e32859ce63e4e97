"""The paths of the front, and the methods that each takes."""

from __future__ import annotations

ROUTES = {
    "/docs/openapi.json": {"get"},
    "/files/{name}": {"get"},
    "/health": {"get"},
    "/health-check": {"get"},
    "/metrics": {"get"},
    "/openapi.json": {"get"},
    "/predictions": {"post"},
    "/predictions/{prediction_id}": {"put"},
    "/predictions/{prediction_id}/cancel": {"post"},
    "/v1/account": {"get"},
    "/v1/files": {"get", "post"},
    "/v1/files/{file_id}": {"get", "delete"},
    "/v1/inference/{owner}/{name}": {"post"},
    "/v1/models": {"get"},
    "/v1/models/{owner}/{name}": {"get"},
    "/v1/models/{owner}/{name}/predictions": {"post"},
    "/v1/models/{owner}/{name}/versions": {"get"},
    "/v1/models/{owner}/{name}/versions/{version_id}": {"get"},
    "/v1/predictions": {"get", "post"},
    "/v1/predictions/{prediction_id}": {"get"},
    "/v1/predictions/{prediction_id}/cancel": {"post"},
    "/v1/predictions/{prediction_id}/stream": {"get"},
    "/v1/webhooks/default/secret": {"get"},
}
