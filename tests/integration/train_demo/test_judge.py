from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.pictograms import shape
from train_demo.evaluation import area_of, colour_of, nearest
from train_demo.judge import Judge
from train_demo.pictograms import Pictogram


def test_it_tells_shapes_apart_that_it_learned_in_other_colours_also_from_a_file(
    tmp_path: Path,
) -> None:
    names = ["disc", "bars", "triangle"]
    shown = [Pictogram(f"red {name}", (), "@iconify-json/noto", "") for name in names]
    learned = np.stack([np.asarray(shape(name, "red")) for name in names])
    with torch.inference_mode(mode=False):
        judge = Judge.train(learned, shown, width=8, steps=60, device=torch.device("cpu"))
    judge.save(tmp_path / "judge.safetensors")
    read = Judge.read(tmp_path / "judge.safetensors", torch.device("cpu"))
    assert read.nouns == judge.nouns == sorted(names)
    asked = [shape(name, "blue", "white").convert("RGB") for name in names]
    for one in (judge, read):
        for in_colour in (True, False):
            assert [ranking[0] for ranking in one.ranking(asked, in_colour)] == names


def test_colours_have_the_names_that_people_give_them() -> None:
    for colour in ("red", "orange", "yellow", "green", "blue", "purple"):
        picture = shape("disc", colour, "white").convert("RGB")
        assert colour_of(picture) == colour
        assert area_of(picture, colour) > 0.1
    assert colour_of(shape("disc", "gray", "white").convert("RGB")) == ""
    assert area_of(shape("disc", "blue", "white").convert("RGB"), "red") == 0


def test_the_nearest_picture_is_found_with_its_distance() -> None:
    known = np.stack([np.full((4, 4, 3), value) for value in (0, 100, 200)]).astype(np.uint8)
    asked = np.stack([np.full((4, 4, 3), value) for value in (100, 190)]).astype(np.uint8)
    assert nearest(asked, known).tolist() == pytest.approx([0, 10], abs=0.1)
