from __future__ import annotations

import numpy as np

from tests.support.pictograms import shape
from train_lora.blueprint import INK, PAPER, blueprint


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
