from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_diffusion import models
from stable_diffusion.models import Model, SetupError, WeightsError
from tests.conftest import Studio, difference, same


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights with a manifest and nothing else."""
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    entry: dict[str, Any] = {"task": "img2img", "repository": "a/b", "native_size": 768}
    entry["files"] = {"vae/config.json": {"size": 3}}
    manifest = {
        "demo": {"task": "img2img", "native_size": 128},
        "stable-diffusion-2-1": entry,
        "stable-diffusion-2-inpainting": {"task": "inpainting", "native_size": 512},
        "stable-diffusion-2-depth": {"task": "depth", "native_size": 512},
        "safety-checker": {"task": "safety", "native_size": 224},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def install(folder: Path) -> None:
    (folder / "vae").mkdir(parents=True)
    (folder / "vae" / "config.json").write_text("{ }")
    (folder / "model_index.json").write_text("{}")


def test_without_a_choice_stable_diffusion_21_is_taken_where_it_is_whole_else_the_demo(
    weights: Path,
) -> None:
    install(weights / "demo")
    assert (models.find(None).name, models.find(None).native_size) == ("demo", 128)
    (weights / "stable-diffusion-2-1").mkdir()
    assert models.find(None).name == "demo"
    shutil.rmtree(weights / "stable-diffusion-2-1")
    install(weights / "stable-diffusion-2-1")
    found = models.find("")
    assert (found.name, found.native_size) == ("stable-diffusion-2-1", 768)


def test_without_a_choice_each_task_takes_its_own_model_or_the_demo_where_it_can(
    weights: Path,
) -> None:
    install(weights / "demo")
    assert models.find(None, "inpainting").name == "demo"
    with pytest.raises(WeightsError, match="run: scripts/download-weights stable-diffusion-2-dep"):
        models.find(None, "depth")
    for task in ("inpainting", "depth"):
        install(weights / f"stable-diffusion-2-{task}")
        found = models.find(None, task)
        assert (found.name, found.task) == (f"stable-diffusion-2-{task}", task)


def test_the_safety_checker_is_no_model_to_draw_with(weights: Path) -> None:
    install(weights / "safety-checker")
    with pytest.raises(WeightsError, match="there is no model 'safety-checker'"):
        models.find("safety-checker")


def test_missing_weights_are_told_with_the_command_that_gets_them(weights: Path) -> None:
    with pytest.raises(WeightsError, match="run: scripts/download-weights stable-diffusion-2-1"):
        models.find("stable-diffusion-2-1")


def test_a_file_of_another_size_than_on_record_is_told(weights: Path) -> None:
    folder = weights / "stable-diffusion-2-1"
    install(folder)
    (folder / "vae" / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="config.json has not the size on record"):
        models.find("stable-diffusion-2-1")


def test_a_file_that_was_downloaded_and_is_gone_is_told(weights: Path) -> None:
    install(weights / "stable-diffusion-2-1")
    lock = {"stable-diffusion-2-1": {"files": {"unet/config.json": {"size": 5}}}}
    (weights / "lock.json").write_text(json.dumps(lock))
    with pytest.raises(WeightsError, match="unet/config.json is missing"):
        models.find("stable-diffusion-2-1")


def test_a_folder_is_a_model_with_the_native_size_of_its_unet() -> None:
    found = models.find(str(models.WEIGHTS / "demo"))
    assert (found.name, found.native_size) == ("demo", 128)


def test_a_folder_whose_unet_is_for_nothing_known_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(models.WEIGHTS / "demo", folder)
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"in_channels": 8}))
    with pytest.raises(WeightsError, match="no task is known for a UNet that takes 8 channels"):
        models.find(str(folder))


@pytest.mark.parametrize("name", ["nonsense", "/nowhere", "tests"])
def test_what_is_no_model_is_told_with_what_there_is(name: str) -> None:
    with pytest.raises(WeightsError, match=r"no model .*stable-diffusion-2-1"):
        models.find(name)


def test_on_a_cpu_the_model_computes_in_float32(demo: Model) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert (demo.dtype, demo.device.type) == (torch.float32, "cpu")


def test_a_model_in_the_hubs_layout_draws_the_same(tmp_path: Path, demo: Model) -> None:
    """Half-precision files by the hub's names, and a tokenizer of two text files."""
    folder = tmp_path / "hub"
    shutil.copytree(models.WEIGHTS / "demo", folder)
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    tokenizer = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(tokenizer["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["merges"]]
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))

    from_hub = Studio(models.load(models.find(str(folder))))
    ours = Studio(demo)
    assert same(from_hub.draw()[0], ours.draw()[0])
    assert difference(from_hub.draw()[0], from_hub.draw(prompt="a blue heart")[0])[1] > 5
    from_hub.close()
    ours.close()


def test_an_unknown_precision_is_refused_with_those_there_are(demo: Model) -> None:
    with pytest.raises(SetupError, match="'int4' is not known; give one of float32, float16"):
        models.load(demo.weights, "int4")


def test_what_was_left_out_of_the_start_is_there_when_asked_for() -> None:
    program = """
import gc, sys
from stable_diffusion import models
models.load(models.find("demo"))
assert gc.isenabled()
print([name for name in ("torch._dynamo", "scipy.stats") if name in sys.modules])
import scipy, torch
from diffusers import LMSDiscreteScheduler
scheduler = LMSDiscreteScheduler()
scheduler.set_timesteps(4)
assert scheduler.get_lms_coefficient(order=2, t=1, current_order=0) < 0
assert torch.distributed.is_available()
assert torch.nn.Embedding(100, 100).weight.std() > 0.5
print(scipy.stats.norm.cdf(0), torch.compile(len, backend="eager")("abc"))
"""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert ended.stdout.splitlines() == ["[]", "0.5 3"]
