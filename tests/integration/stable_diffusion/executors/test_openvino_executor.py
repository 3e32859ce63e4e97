"""The OpenVINO executor, with parts that stand for compiled ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_diffusion import executors, images
from stable_diffusion.catalogue import SetupError
from stable_diffusion.executors import openvino
from stable_diffusion.executors.openvino import OpenVinoExecutor
from stable_diffusion.executors.plain import PlainExecutor
from stable_diffusion.installed import Folder
from stable_diffusion.models import Model
from tests.support import made_loras
from tests.support.pictures import EXAMPLES, half_mask, same
from tests.support.studio import Studio

FLOWER = images.read_image(EXAMPLES / "flower.png")


@pytest.fixture(autouse=True)
def _all_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts serve although they are no faster here."""
    monkeypatch.setattr(openvino, "SLOWEST_SHARE", 1e9)


class Parts:
    """Compute as torch does, what they are asked for; count their calls."""

    def __init__(self, model: Model, error: Exception | None = None, spoil: float = 1) -> None:
        self._plain = PlainExecutor(model)
        self._error, self._spoil = error, spoil
        self.may_be_ready = threading.Event()
        self.largest_rows = 99
        self.calls: list[str] = []

    def prepare(self) -> None:
        self.may_be_ready.wait(60)
        if self._error:
            raise self._error

    def unet(self, sample: torch.Tensor, *rest: Any) -> torch.Tensor | None:
        if len(sample) > self.largest_rows:
            return None
        self.calls.append("unet")
        return self._spoil * self._plain.unet(sample, *rest)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self.calls.append("encode")
        return self._plain.encode(pixels)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        self.calls.append("decode")
        return self._plain.decode(latents)


def studio_with(
    demo: Model, parts: Parts, monkeypatch: pytest.MonkeyPatch, loras: Folder | None = None
) -> Studio:
    def choose(_: object, model: Model, wake: Callable[[], None]) -> PlainExecutor:
        return OpenVinoExecutor(model, parts, wake)  # type: ignore[arg-type]

    monkeypatch.setattr(executors, "choose", choose)
    return Studio(demo, loras=loras)


def test_the_plain_way_serves_until_it_is_compiled_and_proved(
    studio: Studio, demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(demo)
    compiled = studio_with(demo, parts, monkeypatch)
    options: dict[str, Any] = {"image": FLOWER, "num_inference_steps": 3}
    before = compiled.draw(**options)[0]
    assert compiled.engine.is_warming
    assert parts.calls == []
    parts.may_be_ready.set()
    compiled.wait_until_warm()
    assert parts.calls == ["unet", "unet", "decode", "decode", "encode", "encode"]
    after = compiled.draw(strength=0.79, **options)[0]
    assert parts.calls[6:] == ["unet", "unet", "decode"]
    assert same(before, studio.draw(**options)[0])
    assert same(after, studio.draw(strength=0.79, **options)[0])
    compiled.close()


def test_what_is_not_compiled_is_called_plainly(
    demo: Model, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(demo)
    parts.may_be_ready.set()
    compiled = studio_with(demo, parts, monkeypatch)
    compiled.wait_until_warm()
    parts.largest_rows = 2
    parts.calls.clear()
    pictures = compiled.draw(num_images=2, num_inference_steps=2)
    assert parts.calls == ["decode", "decode"]
    expected = studio.draw(num_images=2, num_inference_steps=2)
    assert all(same(*pair) for pair in zip(pictures, expected, strict=True))
    compiled.close()


def test_pictures_with_loras_have_plain_calls_of_their_own(
    demo: Model, studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loras = {f"lora {seed}": made_loras.lora(demo.pipeline.unet, seed, size=0.3) for seed in (1, 2)}
    folder = made_loras.folder(demo, tmp_path, loras)
    plain = Studio(demo, loras=folder)
    parts = Parts(demo)
    parts.may_be_ready.set()
    compiled = studio_with(demo, parts, monkeypatch, folder)
    compiled.wait_until_warm()
    parts.calls.clear()
    names: list[list[str]] = [[], ["lora 1"], [], ["lora 2:-0.5"]]
    asked = [{"num_inference_steps": 3, "seed": 1, "loras": each} for each in names]
    together = compiled.draw_together(asked)
    assert 3 <= parts.calls.count("unet") <= 6
    for inputs, (ours,) in zip(asked, together, strict=True):
        assert same(ours, plain.draw(**inputs)[0])
    parts.calls.clear()
    compiled.draw(**asked[1])
    assert parts.calls == ["decode"]
    assert same(together[0][0], studio.draw(num_inference_steps=3, seed=1)[0])
    plain.close()
    compiled.close()


def test_a_part_that_is_slower_than_torchs_does_not_serve(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([1.0, 0.5, 1.0, 1.2, 1.0, 1.0])  # torch's and OpenVINO's, part by part
    monkeypatch.setattr(openvino, "SLOWEST_SHARE", 1.05)
    monkeypatch.setattr(openvino, "_timed", lambda call: (next(seconds), call()))
    parts = Parts(demo)
    parts.may_be_ready.set()
    compiled = studio_with(demo, parts, monkeypatch)
    compiled.wait_until_warm()
    parts.calls.clear()
    compiled.draw(image=FLOWER, strength=0.5, num_inference_steps=2)
    assert parts.calls == ["encode", "unet"]
    compiled.close()


@pytest.mark.parametrize(
    ("error", "spoil", "reason"),
    [
        (None, 1.1, "it gave other numbers than torch"),
        (None, float("nan"), "it gave other numbers than torch"),
        (RuntimeError("no such\nprocessor"), 1, "no such processor"),
        (MemoryError("there is not enough memory"), 1, "there is not enough memory"),
    ],
)
def test_what_fails_or_differs_is_left_out_in_one_line_and_all_is_drawn(
    demo: Model,
    studio: Studio,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception | None,
    spoil: float,
    reason: str,
) -> None:
    parts = Parts(demo, error, spoil)
    parts.may_be_ready.set()
    compiled = studio_with(demo, parts, monkeypatch)
    compiled.wait_until_warm()
    assert capsys.readouterr().err == f"OpenVINO is left out: {reason}\n"
    parts.calls.clear()
    assert same(compiled.draw(num_inference_steps=2)[0], studio.draw(num_inference_steps=2)[0])
    assert parts.calls == []
    compiled.close()


def test_openvino_that_is_not_installed_is_refused_where_it_was_asked_for(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "find_spec", lambda _: None)
    with pytest.raises(SetupError, match="not installed; run: .*pip install"):
        executors.choose("openvino", demo, lambda: None)
    assert type(executors.choose(None, demo, lambda: None)) is PlainExecutor


def test_openvino_draws_what_torch_draws(
    demo: Model, studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CACHE_DIR", str(tmp_path))
    compiled = Studio(demo, executor="openvino")
    compiled.wait_until_warm()
    assert isinstance(compiled.engine._executor, OpenVinoExecutor)
    assert compiled.engine._executor._serving == {"unet", "decode", "encode"}
    asked: list[dict[str, Any]] = [
        {"image": FLOWER, "strength": 0.7, "num_images": 2},
        {"image": FLOWER, "mask": half_mask(), "scheduler": "K_EULER_ANCESTRAL"},
        {"guidance_scale": 1, "scheduler": "PNDM", "num_inference_steps": 9},
        {"width": 256, "height": 128, "prompt": "an apple " * 40, "use_compel": True},
    ]
    for inputs, pictures in zip(asked, compiled.draw_together(asked), strict=True):
        for ours, theirs in zip(pictures, studio.draw(**inputs), strict=True):
            assert same(ours, theirs)
    compiled.close()
