from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.pictograms import shape
from train_demo import pictograms
from train_demo.pictograms import Pictogram
from train_lora.blueprint import INK, PACKAGE, PAPER, TRIGGER, blueprint, draw
from train_lora.examples import in_folder


def test_nothing_is_blank_paper() -> None:
    assert (blueprint(np.zeros((64, 64, 4), np.uint8)) == PAPER).all()


def test_a_thing_has_a_white_edge_on_blue_and_is_pale_within() -> None:
    drawn = blueprint(np.asarray(shape("disc", "red", inset=30)))
    assert drawn.shape == (256, 256, 3)
    assert (drawn[2, 2] == PAPER).all()
    assert (drawn[128, 30] > np.array(INK) - 8).all()
    within = drawn[128, 128]
    assert (within > np.array(PAPER)).all()
    assert (within < np.array(INK) - 60).all()


def test_pictures_of_one_package_are_written_with_captions_that_have_the_trigger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><circle cx="8" cy="8" r="5" fill="red"/></svg>'
    found = [
        (Pictogram("cat face", (), PACKAGE, "a"), svg),
        (Pictogram("red apple", (), PACKAGE, "b"), svg),
        (Pictogram("rose", (), "another", "c"), svg),
    ]
    monkeypatch.setattr(pictograms, "fetch", Path.mkdir)
    monkeypatch.setattr(pictograms, "collect", lambda *_: iter(found))
    folder = tmp_path / "training" / "blueprint"
    draw(folder, lambda _: None)
    examples = in_folder(folder)
    assert [example.path.name for example in examples] == ["cat-face.png", "red-apple.png"]
    assert all(TRIGGER in example.caption.split(", ") for example in examples)
    assert "cat" in examples[0].caption
    assert "apple" in examples[1].caption
    assert (np.asarray(examples[0].read())[-1, -1] == PAPER).all()
