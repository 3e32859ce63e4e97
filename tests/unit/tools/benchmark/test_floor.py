from __future__ import annotations

import pytest

from stable_diffusion.catalogue import Weights
from stable_diffusion.checkpoints import ORIGINAL
from tools.benchmark.floor import floor_of
from tools.benchmark.latency import default


@pytest.mark.parametrize(("size", "tera"), [(512, 35.9), (768, 94.4)])
def test_the_floor_of_a_default_prediction_is_known(size: int, tera: float) -> None:
    # 20 steps × 2 rows, an encoding and a decoding: 40 × 0.804 + 1.12 + 2.51 at 512 px.
    floor = floor_of(Weights("random", ORIGINAL / "v2", 768), default(size, steps=25))
    assert floor / 1e12 == pytest.approx(tera, rel=0.005)
