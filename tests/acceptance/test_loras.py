"""LoRAs by `scripts/serve`, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.support import lora_files
from tests.support.pictures import difference, same
from tests.support.server import Server, start

if TYPE_CHECKING:
    from stable_diffusion.models import Model

NAMES = lora_files.EIGHT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo: Model) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    lora_files.write_eight(folder, demo.pipeline)
    return folder


@pytest.fixture(
    scope="module", params=["plain", "openvino"] if find_spec("openvino") else ["plain"]
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, folder: Path
) -> Iterator[Server]:
    settings = {"LORAS": str(folder), "EXECUTOR": request.param}
    server = start(tmp_path_factory.mktemp("server"), "--model", "demo", **settings)
    yield server
    server.stop()


def test_eight_requests_with_eight_loras_at_once_give_what_each_gives_alone(
    server: Server,
) -> None:
    def drawn(name: str) -> Image.Image:
        loras = [f"{name}:0.5"] if name else []
        (picture,) = server.draw(prompt="a castle", loras=loras, seed=3, num_inference_steps=8)
        return picture

    names = [*NAMES, ""]
    alone = [drawn(name) for name in names]
    with ThreadPoolExecutor(len(names)) as threads:
        together = list(threads.map(drawn, names))
    for one, other in zip(alone, together, strict=True):
        assert same(one, other)
    for number, one in enumerate(alone):
        distances = [difference(one, other)[1] for other in alone[number + 1 :]]
        assert min(distances, default=9) > 0.5, (number, distances)
