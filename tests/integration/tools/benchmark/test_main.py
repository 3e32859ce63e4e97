"""scripts/benchmark, in a run so small that its figures mean nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cog_schema.schema import ROOT
from stable_diffusion import catalogue, models
from tools.benchmark import adapters, calls, report, service


def benchmark(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "tools.benchmark", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    return ended


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The numbers and the tables of a run."""
    file = tmp_path_factory.mktemp("benchmark") / "results.json"
    parts = ("latency", "growth", "equality", "overhead", "observing", "load")
    counts = ("--rounds", "1", "--requests", "2", "--steps", "2", "--size", "128")
    told = benchmark("--only", *parts, *counts, "--output", str(file)).stdout
    return json.loads(file.read_text()), told


def test_every_part_has_its_numbers(run: tuple[dict[str, Any], str]) -> None:
    results, _ = run
    (latency,) = results["latency"]
    assert {"engine", "library"} <= set(latency["seconds"]) == set(latency["peak_memory"])
    for name, each in latency["seconds"].items():
        assert len(each["values"]) == 1
        assert 2**27 < latency["peak_memory"][name]["process"] < 2**33
    growth = {"guidance 1", "8 steps", "4 images", "256 px", "mask", "mask_grow", "only_masked"}
    growth |= {"image", "extend_right", "keep_size", "resize_mode", "crop"}
    growth |= {"upscaler (as x4plus_anime_6B, random weights)"}
    growth |= {"tiling", "refine_scale", "K_HEUN", "eta 1", "karras", "clip_skip 1"}
    assert growth < set(results["growth"])
    assert results["equality"]["largest"] <= 2
    assert 0 < results["overhead"]["share"]["median"] < 1
    observing = results["observing"]
    assert len(observing["ratios"]) == 3
    assert all(0.1 < one["median"] < 10 for one in observing["ratios"].values())
    assert observing["ratios"].keys() == observing["shares"].keys()
    assert all(-1 < share < 1 for share in observing["shares"].values())
    assert set(results["load"]["loads"]) == {"0.5", "0.8", "1.1", "all at once"}
    assert results["machine"]["versions"]["torch"]


def test_the_tables_tell_them(run: tuple[dict[str, Any], str]) -> None:
    results, told = run
    for heading in ("demo in float32", "engine / library", "8 steps", "HTTP", "short ones wait"):
        assert heading in told
    assert f"{results['latency'][0]['seconds']['engine']['median']:.3g}" in told


def test_a_model_that_is_not_there_is_told() -> None:
    ended = benchmark("--model", "nothing", status=1)
    assert "there is no model 'nothing'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_start_is_measured_to_ready_and_to_the_first_answer() -> None:
    weights = catalogue.find("demo")
    for ready, answered in (service.ours(weights, cached=False), service.naive(weights, True)):
        assert 1 < ready < answered


def test_calls_are_measured_by_rows_and_by_threads() -> None:
    weights = catalogue.find("demo")
    assert set(calls.by_rows(weights, 1)) == {"1", "2", "4", "8", "16"}
    assert set(calls.by_threads(weights, 1)) == {"alone", "a second has computed"}


def test_calls_with_loras_are_measured_by_their_number_and_layers() -> None:
    result = adapters.measure(catalogue.find("demo"), 64, 1)
    by_loras = [f"{count}, {layers}" for layers in adapters.LAYERS for count in (1, 4, 8)]
    assert list(result["calls"]) == ["none", *by_loras]
    _, heading, none, *others = "\n".join(report.adapters(result)).splitlines()
    assert heading.endswith("with 8 rows of 64 px, by their different LoRAs, of rank 16")
    assert none.endswith("1 (1 to 1) of none")
    assert len(others) == len(by_loras)


def test_the_loras_of_a_measured_call_change_what_it_gives() -> None:
    unet = models.load(catalogue.find("demo")).pipeline.unet
    latents, texts = torch.ones(2, 4, 8, 8), torch.ones(2, 4, unet.config.cross_attention_dim)

    def given() -> torch.Tensor:
        with torch.inference_mode():
            output: torch.Tensor = unet(latents, 500, encoder_hidden_states=texts).sample
        return output

    plain = given()
    for pattern in adapters.LAYERS.values():
        lora = adapters.random_lora(unet, pattern)
        with adapters.with_slots(unet, lora).at_work(torch.tensor([0, 8])):
            adapted = given()
        assert torch.equal(adapted[0], plain[0])
        assert not torch.equal(adapted[1], plain[1])
    assert torch.equal(given(), plain)


def test_a_quick_run_has_its_parts_and_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "quick.json"
    counts = ("--rounds", "1", "--steps", "2", "--size", "128")
    told = benchmark("--quick", "--skip-compiled", *counts, "--output", str(file)).stdout
    results = json.loads(file.read_text())
    assert results["128 px, one prediction"]["ratio_to"]["library"]["median"] > 0
    assert results["128 px, 8 at once"]["seconds_an_image"]["median"] > 0
    assert set(results["turns"]) == {"1", "2", "4", "8"}
    curve = results["load, simulated"]
    assert curve["all at once"]["together"]["predictions_per_second"] > 0
    waits = [curve["0.8"][name]["mean_wait_of_short"] for name in ("together", "one at a time")]
    assert min(waits) >= 0  # which is shorter, the turns of a noisy machine do not say
    assert results["beside others"]["largest"] <= 2
    assert results["highest guidance"]["deviation"] > 10
    assert sum(line.startswith("[") for line in told.splitlines()) == 8
    del results["turns"]
    file.write_text(json.dumps(results))
    again = benchmark("--quick", "--skip-compiled", *counts, "--output", str(file)).stdout
    assert again.count("s] ") == 1
    assert "turns" in again
