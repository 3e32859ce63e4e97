"""A cluster that scales to none, and comes back when a prediction waits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.support import cluster as clusters
from tests.support.server import Server, start, until

pytestmark = pytest.mark.slow

SCALING = {
    "min_replicas": 0,
    "initial_replicas": 1,
    "max_replicas": 1,
    "target_ongoing_requests": 4,
    "upscale_delay_s": 0.0,
    "downscale_delay_s": 3.0,
    "look_back_period_s": 2.0,
    "metrics_interval_s": 1.0,
}


def endpoint(server: Server) -> dict[str, Any]:
    try:
        with server.ask("/health") as answer:
            document = json.load(answer)
    except HTTPError as error:  # nothing is ready for a moment
        document = json.load(error)
    found: dict[str, Any] = document["endpoints"][0]
    return found


def asked(server: Server, path: str, body: Any = None) -> dict[str, Any]:
    with server.ask(path, body) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_it_goes_to_none_and_starts_for_a_prediction_that_waits(tmp_path: Path) -> None:
    with clusters.running(tmp_path, SCALING) as cluster:
        server = start(tmp_path / "front", COG_URLS=cluster.url)
        try:
            (before,) = server.draw(prompt="a red apple", num_inference_steps=2, seed=3)
            until(lambda: endpoint(server)["status"] == "IDLE", 120)
            until(lambda: cluster.cog_servers() == [])
            assert endpoint(server)["description"]["model"] == "demo"
            inputs = {"prompt": "a red apple", "num_inference_steps": 2, "seed": 3}
            body = {"model": "stability-ai/stable-diffusion", "input": inputs}
            made = asked(server, "/v1/predictions", body)
            assert made["status"] == "starting"
            assert made["queue"]["reason"] == "starting"
            until(lambda: asked(server, f"/v1/predictions/{made['id']}")["completed_at"], 180)
            after = asked(server, f"/v1/predictions/{made['id']}")
            assert (after["status"], after["error"]) == ("succeeded", None)
            assert before
        finally:
            server.stop()
