"""A network enlarges what was drawn, before the second pass or alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from PIL import Image

from stable_diffusion import images, pixel_upscalers
from stable_diffusion.events import Event, Picture, Resized
from stable_diffusion.request import InputError
from tests.support import rrdb
from tests.support.pictures import EXAMPLES, difference, half_mask, picture_of
from tests.support.studio import Studio, demo_model, until_over

ASKED: dict[str, Any] = {"prompt": "a castle", "seed": 4, "num_inference_steps": 4}
FLOWER = images.read_image(EXAMPLES / "flower.png")
X4, X2 = rrdb.network(), rrdb.network(doublings=1)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("upscalers")
    files = {
        name: rrdb.write(folder / f"{name}.pth", tensors)
        for name, tensors in {"x4": X4, "x2": X2}.items()
    }
    upscalers = pixel_upscalers.installed(files, torch.device("cpu"))
    studio = Studio(demo_model(), upscalers=upscalers)
    yield studio
    studio.close()


def test_the_second_pass_starts_from_what_the_network_makes(studio: Studio) -> None:
    (first,) = studio.draw(**ASKED)
    second: dict[str, Any] = {"refine_scale": 2, "refine_strength": 0.5}
    events = list(studio.events(**ASKED, **second, upscaler="x2"))
    (picture,) = [event.image for event in events if isinstance(event, Picture)]
    larger = rrdb.enlarged(X2, first)
    size = {"width": 256, "height": 256}
    (expected,) = studio.draw(**ASKED, **size, image=larger, strength=0.5)
    assert difference(picture, expected)[0] <= 2
    (by_lanczos,) = studio.draw(**ASKED, **second)
    assert difference(picture, by_lanczos)[1] > 2
    (said,) = [event.warning for event in events if isinstance(event, Resized)]
    assert said == (
        "refine_scale: drawn at 128 × 128 px, then enlarged by x2 and refined at 256 × 256 px"
    )


def test_a_scale_that_is_not_the_networks_is_reached_by_lanczos(studio: Studio) -> None:
    (first,) = studio.draw(**ASKED)
    events = list(studio.events(**ASKED, refine_scale=1.5, refine_strength=0, upscaler="x4"))
    (picture,) = [event.image for event in events if isinstance(event, Picture)]
    expected = rrdb.enlarged(X4, first).resize((192, 192), Image.Resampling.LANCZOS)
    assert difference(picture, expected)[0] <= 1
    (said,) = [event.warning for event in events if isinstance(event, Resized)]
    assert said == "refine_scale: drawn at 128 × 128 px, then enlarged to 192 × 192 px by x4"


def test_each_of_several_images_is_enlarged_as_it_is_alone(studio: Studio) -> None:
    asked = {**ASKED, "refine_scale": 2, "refine_strength": 0, "upscaler": "x2"}
    pictures, plain = studio.draw_together([{**asked, "num_images": 2}, ASKED])
    for index, picture in enumerate(pictures):
        (alone,) = studio.draw(**{**asked, "seed": 4 + index})
        assert difference(picture, alone)[0] <= 6  # of which the network makes more
    assert difference(plain[0], studio.draw(**ASKED)[0])[0] <= 2


ALONE: dict[str, Any] = {"prompt": "", "strength": 0, "refine_strength": 0}


@pytest.mark.parametrize("name", ["x4", "x2"])
def test_an_image_may_be_enlarged_alone_in_its_own_size(name: str, studio: Studio) -> None:
    picture = picture_of(size=(203, 31))
    scale = {"x4": 4, "x2": 2}[name]
    asked = {**ALONE, "image": picture, "refine_scale": scale, "upscaler": name}
    (event,) = [one for one in studio.events(**asked) if isinstance(one, Picture)]
    expected = rrdb.enlarged({"x4": X4, "x2": X2}[name], picture)
    assert event.image.size == expected.size
    assert difference(event.image, expected)[0] <= 1
    assert event.generated is None  # no step has drawn it, so that it gets no watermark


def test_what_is_enlarged_alone_may_get_any_size(studio: Studio) -> None:
    picture = picture_of(size=(60, 40))
    asked = {**ALONE, "image": picture, "refine_scale": 4, "upscaler": "x4"}
    (scaled,) = studio.draw(**asked, result_size="150x100")
    whole = rrdb.enlarged(X4, picture)
    assert difference(scaled, images.fit(whole, (150, 100)))[0] <= 1
    (cut,) = studio.draw(**asked, result_size="100x100")
    assert difference(cut, images.fit(whole, (100, 100)))[0] <= 1
    (by_lanczos,) = studio.draw(**{**asked, "upscaler": None})
    assert difference(by_lanczos, picture.resize((240, 160), Image.Resampling.LANCZOS)) == (0, 0)
    with pytest.raises(InputError, match="refine_scale: 600 × 600 px become 2400 × 2400"):
        studio.draw(**{**asked, "image": picture_of(size=(600, 600))})


def test_a_mask_preserves_what_is_enlarged(studio: Studio) -> None:
    mask = half_mask((512, 512))
    asked = {**ASKED, "image": FLOWER, "mask": mask, "width": 128, "height": 128}
    (picture,) = studio.draw(**asked, refine_scale=2, upscaler="x2")
    kept = (0, 0, 128, 256)
    assert difference(picture.crop(kept), images.fit(FLOWER, (256, 256)).crop(kept)) == (0, 0)


def test_a_cancel_ends_the_enlarging_between_two_pieces(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = studio.engine.upscalers["x4"].network
    forward, pieces, submitted = network.forward, list[Any](), threading.Event()
    heard: list[Event] = []

    def cancelling(pixels: torch.Tensor) -> torch.Tensor:
        pieces.append(pixels.shape)
        submitted.wait()
        job.cancel()
        return forward(pixels)

    monkeypatch.setattr(network, "forward", cancelling)
    asked = {**ALONE, "image": picture_of(size=(500, 500)), "refine_scale": 4, "upscaler": "x4"}
    job = studio.engine.submit(studio.request(**asked), heard.append)
    submitted.set()
    assert studio.draw(**ASKED)
    assert len(pieces) == 1
    assert not any(isinstance(event, Picture) for event in heard)


def test_other_pictures_come_between_two_pieces(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = studio.engine.upscalers["x4"].network
    forward, order = network.forward, list[str]()

    def counted(pixels: torch.Tensor) -> torch.Tensor:
        order.append("piece")
        return forward(pixels)

    monkeypatch.setattr(network, "forward", counted)
    large: SimpleQueue[Event] = SimpleQueue()
    asked = {**ALONE, "image": picture_of(size=(500, 500)), "refine_scale": 4, "upscaler": "x4"}
    studio.engine.submit(studio.request(**asked), large.put)
    plain = studio.request(**{**ASKED, "num_inference_steps": 1})
    studio.engine.submit(plain, lambda event: order.append(type(event).__name__))
    assert any(isinstance(event, Picture) for event in until_over(large))
    assert order.count("piece") == 16
    assert "Finished" in order[: order.index("piece") + 12]
