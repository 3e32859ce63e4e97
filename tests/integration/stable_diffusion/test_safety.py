from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from stable_diffusion.catalogue import WeightsError
from stable_diffusion.safety import SafetyChecker
from tests.support import random_checker
from tests.support.pictures import picture_of
from tests.support.random_checker import preprocessed

CPU = torch.device("cpu")
FLAGGED = picture_of(size=(256, 320))
OTHERS = [
    picture_of(size=(256, 320), seed=1).transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    Image.new("RGB", (320, 256), "white"),
    Image.new("RGB", (224, 224), "black"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checker whose only concept is `FLAGGED`."""
    random_checker.write(tmp_path, FLAGGED)
    return tmp_path


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    file = folder / "safety_checker" / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})


def set_weight(folder: Path, name: str, value: float, index: int | None = None) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights[name][slice(None) if index is None else index] = value

    change_weights(folder, change)


def load(folder: Path, dtype: torch.dtype = torch.float32) -> SafetyChecker:
    return SafetyChecker(folder, CPU, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_picture_of_a_concept_is_flagged_and_no_other(folder: Path, dtype: torch.dtype) -> None:
    checker, before = load(folder, dtype), FLAGGED.tobytes()
    assert checker.is_nsfw(FLAGGED)
    assert FLAGGED.tobytes() == before
    assert not any(checker.is_nsfw(picture) for picture in OTHERS)


def test_a_concepts_threshold_decides(folder: Path) -> None:
    set_weight(folder, "concept_embeds_weights", 1.01)
    assert not load(folder).is_nsfw(FLAGGED)
    set_weight(folder, "concept_embeds_weights", 0.99, index=16)
    assert load(folder).is_nsfw(FLAGGED)


def test_special_care_lowers_the_thresholds_by_a_hundredth(folder: Path) -> None:
    set_weight(folder, "concept_embeds_weights", 1.005)
    assert not load(folder).is_nsfw(FLAGGED)
    set_weight(folder, "special_care_embeds_weights", -1.1, index=2)
    assert load(folder).is_nsfw(FLAGGED)
    set_weight(folder, "concept_embeds_weights", 1.015)
    assert not load(folder).is_nsfw(FLAGGED)


def test_the_decision_is_the_librarys(folder: Path) -> None:
    ours = load(folder)
    library, decisions = ours._checker, set()
    for seed in range(6):
        torch.manual_seed(seed)
        library.concept_embeds.normal_()
        library.special_care_embeds.normal_()
        library.concept_embeds_weights.fill_(0.75)
        library.special_care_embeds_weights.fill_(0.75)
        for picture in [FLAGGED, *OTHERS]:
            black = numpy.zeros((1, 1, 1, 3))
            theirs = library(images=black, clip_input=preprocessed(picture))[1][0]
            assert ours.is_nsfw(picture) == theirs
            decisions.add(theirs)
    assert decisions == {True, False}


@pytest.mark.parametrize("size", [(224, 224), (256, 320), (1024, 300), (333, 500), (64, 1024)])
def test_pictures_are_prepared_as_for_the_original(folder: Path, size: tuple[int, int]) -> None:
    picture = picture_of(size=size)
    ours = load(folder)._processor(picture, return_tensors="pt")["pixel_values"]
    assert torch.allclose(ours, preprocessed(picture), atol=1e-5)


def to_2022(weights: dict[str, torch.Tensor]) -> None:
    """Gives weights the names they have in the hub's file, and half precision."""
    for name in list(weights):
        value = weights.pop(name).half()
        weights[f"vision_model.{name}" if name.startswith("vision_model.") else name] = value
    weights["vision_model.vision_model.embeddings.position_ids"] = torch.arange(50)[None]


def test_the_hubs_files_of_2022_load_completely(folder: Path) -> None:
    """Their names have one more prefix, and there is a list of positions among the weights."""
    expected = load_file(folder / "safety_checker" / "model.safetensors")
    change_weights(folder, to_2022)
    file = folder / "safety_checker" / "model.safetensors"
    file.rename(file.with_suffix(".fp16.safetensors"))
    checker = load(folder)
    loaded = checker._checker.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name].half().float()) for name in expected)
    assert checker.is_nsfw(FLAGGED)
    assert not any(checker.is_nsfw(picture) for picture in OTHERS)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "concept_embeds",
        "special_care_embeds_weights",
        "visual_projection.weight",
        "vision_model.embeddings.class_embedding",
        "vision_model.encoder.layers.1.mlp.fc1.bias",
    ],
)
def test_missing_weights_are_refused(folder: Path, name: str, old: bool) -> None:
    change_weights(folder, lambda weights: weights.pop(name))
    if old:
        change_weights(folder, to_2022)
    with pytest.raises(WeightsError, match=rf"lacks 1 of the checker's weights.*\({name}\)"):
        load(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update(concept_embeds=torch.zeros(16, 8)))
    with pytest.raises(WeightsError, match=r"in another shape \(concept_embeds\)"):
        load(folder)


@pytest.mark.parametrize("size", [0, 5000])
def test_a_file_that_was_cut_off_is_told(folder: Path, size: int) -> None:
    file = folder / "safety_checker" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(WeightsError, match="the NSFW checker in .* can't be read"):
        load(folder)


@pytest.mark.parametrize("name", ["safety_checker/config", "feature_extractor/preprocessor_config"])
def test_a_missing_or_broken_configuration_is_told(folder: Path, name: str) -> None:
    file = folder / f"{name}.json"
    file.write_text("{")
    with pytest.raises(WeightsError, match=r"can't be read.*not a valid JSON"):
        load(folder)
    file.unlink()
    with pytest.raises(WeightsError, match=f"{name}.json is missing"):
        load(folder)


def test_nothing_is_printed(folder: Path) -> None:
    program = """
import sys
from pathlib import Path
import torch
from PIL import Image
from stable_diffusion.safety import SafetyChecker
checker = SafetyChecker(Path(sys.argv[1]), torch.device("cpu"), torch.float32)
sys.exit(checker.is_nsfw(Image.open(sys.argv[2])) is not True)
"""
    FLAGGED.save(folder / "flagged.png")
    change_weights(folder, to_2022)
    arguments = [sys.executable, "-c", program, str(folder), str(folder / "flagged.png")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
