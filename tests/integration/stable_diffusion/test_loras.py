"""Requests with LoRAs, by what comes out of the engine."""

from __future__ import annotations

import copy
import dataclasses
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import safetensors.torch
import torch

from stable_diffusion import engine, images, lora_files, models
from stable_diffusion.adapters import Adapters, layout_of, ranks_of
from stable_diffusion.events import Event, Finished, Picture
from stable_diffusion.lora_files import Lora
from stable_diffusion.models import Model
from stable_diffusion.request import InputError
from tests.support import lora_files as formats
from tests.support import made_loras, random_models
from tests.support.pictures import EXAMPLES, difference, half_mask, same
from tests.support.studio import Studio, count_calls, until_over

FLOWER = images.read_image(EXAMPLES / "flower.png")
PARTS = (("attn",), ("attn2", "ff."), ("",), ("resnets", "proj_in"))


def eight(model: Model) -> dict[str, Lora]:
    unet = model.pipeline.unet
    return {
        f"lora {seed}": made_loras.lora(unet, seed, 1 + seed, PARTS[seed % 4], size=0.3)
        for seed in range(8)
    }


@pytest.fixture(scope="module", params=["demo", "SD 1", "SD 2"])
def drawing(
    request: pytest.FixtureRequest, demo: Model, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """A studio with eight LoRAs."""
    model, path = demo, tmp_path_factory.mktemp("loras")
    if request.param != "demo":
        linear = {"use_linear_projection": request.param == "SD 2"}
        made = random_models.make("img2img", demo, tmp_path_factory.mktemp("model"), **linear)
        model = models.load(made)
    studio = Studio(model, loras=made_loras.folder(model, path, eight(model)))
    yield studio
    studio.close()


def test_eight_with_eight_loras_at_once_give_what_each_gives_alone(drawing: Studio) -> None:
    asked: list[dict[str, Any]] = [
        {"seed": seed, "loras": [f"lora {seed}:{0.5 + seed / 8}"], "num_inference_steps": 4}
        for seed in range(8)
    ]
    asked[2]["loras"].append("lora 5:-0.5")
    asked[3] |= {"image": FLOWER, "strength": 0.8, "mask": half_mask()}
    asked[4] |= {"num_images": 2}
    asked.append({"seed": 1, "num_inference_steps": 4})
    together = drawing.draw_together(asked)
    for inputs, pictures in zip(asked, together, strict=True):
        for ours, alone in zip(pictures, drawing.draw(**inputs), strict=True):
            assert same(ours, alone)
    assert difference(together[1][0], together[8][0])[1] > 0.2


def with_merged(model: Model, *loras: tuple[Lora, float]) -> Model:
    pipeline = copy.copy(model.pipeline)
    pipeline.unet = made_loras.merged(model.pipeline.unet, loras)
    return dataclasses.replace(model, pipeline=pipeline)


@pytest.fixture(scope="module")
def studio_with(demo: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = Studio(
        demo, loras=made_loras.folder(demo, tmp_path_factory.mktemp("loras"), eight(demo))
    )
    yield studio
    studio.close()


def test_all_passes_use_the_loras(studio_with: Studio, demo: Model) -> None:
    loras = eight(demo)
    merged = Studio(with_merged(demo, (loras["lora 2"], 0.7), (loras["lora 1"], -0.5)))
    asked: list[dict[str, Any]] = [
        {"refine_scale": 1.5, "refine_strength": 0.6},
        {"image": FLOWER, "mask": half_mask(), "only_masked": True, "strength": 0.7},
        {"tiling": True},
        {"image": FLOWER, "strength": 0, "refine_scale": 1.2, "refine_strength": 0.7},
    ]
    for inputs in asked:
        (ours,) = studio_with.draw(
            loras=["lora 2:0.7", "lora 1:-0.5"], num_inference_steps=4, **inputs
        )
        (expected,) = merged.draw(num_inference_steps=4, **inputs)
        (without,) = studio_with.draw(num_inference_steps=4, **inputs)
        assert same(ours, expected)
        assert not same(ours, without)
    merged.close()


def test_a_picture_without_loras_is_what_it_was_beside_others(
    studio_with: Studio, studio: Studio
) -> None:
    plain = {"num_inference_steps": 3, "seed": 5}
    alone = studio_with.draw(**plain)[0]
    assert difference(alone, studio.draw(**plain)[0]) == (0, 0)
    beside = studio_with.draw_together([plain, plain | {"loras": ["lora 3"]}])
    assert difference(beside[0][0], studio.draw_together([plain, plain])[0][0]) == (0, 0)


def budget_of(model: Model, lora: Lora, places: int) -> int:
    ranks = ranks_of([(lora, 1.0)])
    return Adapters(model.pipeline.unet, by_index=False).size(layout_of([ranks], 1 + places))


def read_all(studio: Studio) -> None:
    """Have files and tables read, so that requests begin in the order in which they are made."""
    assert studio.loras
    for name in studio.loras.files():
        for steps in (3, 8, 12):
            studio.draw(loras=[name], num_inference_steps=steps, guidance_scale=1, width=64)


def test_those_for_whose_loras_there_is_no_room_wait_and_hold_up_nobody(
    demo: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loras = eight(demo)
    some = {name: loras[name] for name in ("lora 0", "lora 4")}
    folder = made_loras.folder(demo, tmp_path, some)
    monkeypatch.setattr(engine, "budget_for", lambda _: budget_of(demo, loras["lora 4"], 1))
    short = Studio(demo, loras=folder)
    read_all(short)
    over: SimpleQueue[tuple[str, Event]] = SimpleQueue()
    steps = {"first": 12, "second": 3, "third": 3, "without": 3}
    asked = {"first": ["lora 4"], "second": ["lora 0"], "third": ["lora 4:0.5"], "without": []}
    for name, some_loras in asked.items():
        request = short.request(loras=some_loras, num_inference_steps=steps[name])

        def listen(event: Event, name: str = name) -> None:
            over.put((name, event))

        short.engine.submit(request, listen)
    ended, drawn = list[str](), dict[str, Any]()
    while len(ended) < 4:
        name, event = over.get(timeout=300)
        if isinstance(event, Finished):
            ended.append(name)
        elif isinstance(event, Picture):
            drawn[name] = event.image
    assert ended == ["without", "first", "second", "third"]
    for name, some_loras in asked.items():
        alone = short.draw(loras=some_loras, num_inference_steps=steps[name])
        assert same(drawn[name], alone[0])
    assert not short.engine._placed
    short.close()


def test_one_that_waits_is_not_overtaken_for_ever(
    demo: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MOST_OVERTAKING", 2)
    loras = eight(demo)
    folder = made_loras.folder(demo, tmp_path, {name: loras[name] for name in ("lora 0", "lora 4")})
    monkeypatch.setattr(engine, "budget_for", lambda _: budget_of(demo, loras["lora 4"], 1))
    short = Studio(demo, loras=folder)
    read_all(short)
    over: SimpleQueue[str] = SimpleQueue()
    for number, name in enumerate(["lora 4", "lora 0", *["lora 4"] * 5]):
        request = short.request(loras=[name], num_inference_steps=8, guidance_scale=1, width=64)

        def listen(event: Event, told: str = f"{name} {number}") -> None:
            if isinstance(event, Finished):
                over.put(told)

        short.engine.submit(request, listen)
    ended = [over.get(timeout=300) for _ in range(7)]
    assert ended.index("lora 0 1") == 3
    short.close()


def test_loras_that_never_have_room_are_refused(
    demo: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "budget_for", lambda _: 10)
    lora = eight(demo)["lora 4"]
    short = Studio(demo, loras=made_loras.folder(demo, tmp_path, {"large": lora}))
    with pytest.raises(InputError, match=r"loras: they need \d+ MB on the device, and 0 MB are"):
        short.draw(loras=["large"])
    assert len(short.draw(num_inference_steps=1)) == 1
    short.close()


def test_memory_that_is_short_for_loras_is_freed_once_and_then_said_to_be(
    demo: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_loras.folder(demo, tmp_path, {"large": eight(demo)["lora 4"]})
    short = Studio(demo, loras=folder)
    take, released = short.engine._places.take, list[int]()
    monkeypatch.setattr(short.engine._executor, "release", lambda: released.append(1))
    failures = iter([True, False])

    def take_again(combination: Any) -> Any:
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return take(combination)

    monkeypatch.setattr(short.engine._places, "take", take_again)
    assert len(short.draw(loras=["large"], num_inference_steps=1)) == 1
    assert released == [1]
    failures = iter([True, True])
    with pytest.raises(MemoryError, match="loras: there is not enough memory for them now; use"):
        short.draw(loras=["large"], num_inference_steps=1)
    assert released == [1, 1]
    assert not short.engine._placed
    assert len(short.draw(loras=["large"], num_inference_steps=1)) == 1
    short.close()


def test_a_lora_that_is_gone_before_it_is_read_is_refused_by_name(
    demo: Model, tmp_path: Path
) -> None:
    studio = Studio(demo, loras=made_loras.folder(demo, tmp_path, {"gone": eight(demo)["lora 0"]}))
    request = studio.request(loras=["gone"])
    (tmp_path / "gone.safetensors").unlink()
    events: SimpleQueue[Event] = SimpleQueue()
    studio.engine.submit(request, events.put)
    with pytest.raises(InputError, match="loras: gone is not installed any more"):
        list(until_over(events))
    studio.close()


def test_a_cancelled_request_lets_go_of_its_place(studio_with: Studio) -> None:
    events: SimpleQueue[Event] = SimpleQueue()
    request = studio_with.request(loras=["lora 1"], num_inference_steps=200)
    job = studio_with.engine.submit(request, events.put)
    events.get(timeout=300)
    job.cancel()
    studio_with.draw(num_inference_steps=1)
    assert not studio_with.engine._placed
    assert not any(place.users for place in studio_with.engine._places._places.values())


def test_rows_with_loras_share_calls_with_those_without(
    studio_with: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = count_calls(studio_with.model, monkeypatch)
    studio_with.draw_together(
        [{"num_inference_steps": 6, "loras": [f"lora {one}"] * (one > 0)} for one in range(4)]
    )
    assert max(rows) == 8


def test_a_request_that_is_over_is_forgotten_with_its_picture(studio: Studio) -> None:
    image = FLOWER.copy()
    events: SimpleQueue[Event] = SimpleQueue()
    # With numbers that no other test has, so that its table is read for it.
    request = studio.request(image=image, strength=0.77, num_inference_steps=7)
    studio.engine.submit(request, events.put)
    for _ in until_over(events):
        pass
    seen = weakref.ref(request.image)
    del request, image
    studio.draw(num_inference_steps=1)
    gc.collect()
    assert seen() is None


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
@pytest.mark.parametrize("write", ["kohya", "diffusers", "diffusers_old", "peft"])
@pytest.mark.parametrize("linear", [False, True])
def test_the_library_gives_the_same(demo: Model, tmp_path: Path, write: str, linear: bool) -> None:
    """Two adapters with weights on equal latents, in each format."""
    made = random_models.make("img2img", demo, tmp_path / "model", use_linear_projection=linear)
    pipeline = models.load(made).pipeline
    names, weights = ("one", "other"), (0.7, -0.4)
    for seed, name in enumerate(names):

        def wanted(part: str, path: str) -> bool:
            return part == "unet" and formats.in_attention(part, path)

        drawn = formats.layers_of(pipeline, wanted, rank=2 + 3 * seed, seed=seed)
        # Attention that is sharp makes much of the smallest differences.
        layers = {layer: (down, 0.1 * up) for layer, (down, up) in drawn.items()}
        formats.write(tmp_path / f"{name}.safetensors", getattr(formats, write)(layers))
    read = [lora_files.load(tmp_path / f"{name}.safetensors", pipeline) for name in names]
    combination = list(zip(read, weights, strict=True))
    at_hand = Adapters(pipeline.unet, by_index=False)
    at_hand.move(layout_of([ranks_of(combination)], 2), {})
    at_hand.fill(1, combination)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 16, 16, generator=generator)
    texts = torch.randn(2, 77, pipeline.unet.config.cross_attention_dim, generator=generator)
    given = latents, torch.tensor([20.0, 700.0]), texts
    with at_hand.at_work(torch.tensor([1, 1])):
        ours = pipeline.unet(*given).sample
    plain = pipeline.unet(*given).sample
    for name in names:
        tensors = safetensors.torch.load_file(tmp_path / f"{name}.safetensors")
        # The library wants to be told which model a file of PEFT's is for.
        told = {key.replace("base_model.model.", "unet."): value for key, value in tensors.items()}
        pipeline.load_lora_weights(told, adapter_name=name)
    pipeline.set_adapters(list(names), list(weights))
    theirs = pipeline.unet(*given).sample
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
    assert (ours - plain).abs().max() > 1e-2 * theirs.abs().max()
