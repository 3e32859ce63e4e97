from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stable_diffusion import catalogue
from stable_diffusion.catalogue import WeightsError


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights with a manifest and nothing else."""
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
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
    assert (catalogue.find(None).name, catalogue.find(None).native_size) == ("demo", 128)
    (weights / "stable-diffusion-2-1").mkdir()
    assert catalogue.find(None).name == "demo"
    shutil.rmtree(weights / "stable-diffusion-2-1")
    install(weights / "stable-diffusion-2-1")
    found = catalogue.find("")
    assert (found.name, found.native_size) == ("stable-diffusion-2-1", 768)


def test_without_a_choice_each_task_takes_its_own_model_or_the_demo_where_it_can(
    weights: Path,
) -> None:
    install(weights / "demo")
    assert catalogue.find(None, "inpainting").name == "demo"
    with pytest.raises(WeightsError, match="run: scripts/download-weights stable-diffusion-2-dep"):
        catalogue.find(None, "depth")
    for task in ("inpainting", "depth"):
        install(weights / f"stable-diffusion-2-{task}")
        found = catalogue.find(None, task)
        assert (found.name, found.task) == (f"stable-diffusion-2-{task}", task)


def test_the_safety_checker_is_no_model_to_draw_with(weights: Path) -> None:
    install(weights / "safety-checker")
    with pytest.raises(WeightsError, match="there is no model 'safety-checker'"):
        catalogue.find("safety-checker")


def test_missing_weights_are_told_with_the_command_that_gets_them(weights: Path) -> None:
    with pytest.raises(WeightsError, match="run: scripts/download-weights stable-diffusion-2-1"):
        catalogue.find("stable-diffusion-2-1")


def test_a_file_of_another_size_than_on_record_is_told(weights: Path) -> None:
    folder = weights / "stable-diffusion-2-1"
    install(folder)
    (folder / "vae" / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="config.json doesn't have the size on record"):
        catalogue.find("stable-diffusion-2-1")


def test_a_file_that_was_downloaded_and_is_gone_is_told(weights: Path) -> None:
    install(weights / "stable-diffusion-2-1")
    lock = {"stable-diffusion-2-1": {"files": {"unet/config.json": {"size": 5}}}}
    (weights / "lock.json").write_text(json.dumps(lock))
    with pytest.raises(WeightsError, match="unet/config.json is missing"):
        catalogue.find("stable-diffusion-2-1")


def test_a_folder_is_a_model_with_the_native_size_of_its_unet() -> None:
    found = catalogue.find(str(catalogue.WEIGHTS / "demo"))
    assert (found.name, found.native_size) == ("demo", 128)


def test_a_folder_whose_unet_is_for_nothing_known_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(catalogue.WEIGHTS / "demo", folder)
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"in_channels": 8}))
    with pytest.raises(WeightsError, match="no task is known for a UNet that takes 8 channels"):
        catalogue.find(str(folder))


@pytest.mark.parametrize("name", ["nonsense", "/nowhere", "tests"])
def test_what_is_no_model_is_told_with_what_there_is(name: str) -> None:
    with pytest.raises(WeightsError, match=r"no model .*stable-diffusion-2-1"):
        catalogue.find(name)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("unet/config.json", "{}"),
        ("unet/config.json", "["),
        ("unet/config.json", '{"sample_size": [16, 16], "in_channels": 4}'),
        ("vae/config.json", '"text"'),
    ],
)
def test_a_broken_configuration_is_told(file: str, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(catalogue.WEIGHTS / "demo", folder)
    (folder / file).write_text(text)
    with pytest.raises(WeightsError, match="the configuration of .*broken can't be read"):
        catalogue.find(str(folder))


def test_upscalers_are_the_files_of_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
    assert catalogue.upscalers() == {}
    folder = tmp_path / "upscalers"
    folder.mkdir()
    for name in ("4x-Sharp.PTH", "b.pth", "b.safetensors", "notes.txt", "a\nb.pth", ".pth"):
        (folder / name).touch()
    found = catalogue.upscalers()
    assert found == {"4x-Sharp": folder / "4x-Sharp.PTH", "b": folder / "b.safetensors"}
