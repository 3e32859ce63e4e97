from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import inspect
import io
import os
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import psutil
import pytest
import torch
from imwatermark import WatermarkDecoder
from PIL import Image

import infotext
import predict
from cog_schema import schema
from hosting.backends.description import Description
from hosting.backends.token_counter import TokenCounter
from stable_diffusion import catalogue, images, request, results, safety, startup, watermark
from stable_diffusion.catalogue import SetupError
from stable_diffusion.decoder_processes import DecoderProcesses
from stable_diffusion.engine import Engine
from stable_diffusion.engines import Engines, Served
from stable_diffusion.models import Model
from stable_diffusion.request import InputError, Request
from stable_diffusion.safety import NsfwError
from tests.support import lora_files, random_checker, rrdb
from tests.support.pictures import EXAMPLES, difference, half_mask, opened, picture_of
from tests.support.studio import Studio

FLOWER = EXAMPLES / "flower.png"
DECODERS = DecoderProcesses(most=8)
FLAGGED = picture_of(size=(256, 320))


def serving(engine: Engine) -> Engines:
    """What serves one model alone."""
    loras, embeddings = catalogue.loras(lambda _: None), catalogue.embeddings(lambda _: None)
    served = Served(engine, loras, embeddings)
    return Engines([engine.model.weights], None, lambda _: served)


@pytest.fixture
def predictor(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A predictor that is set up, with a temporary folder of its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    predictor = predict.Predictor()
    predictor.engines, predictor.decoders = serving(studio.engine), DECODERS
    predictor.metrics = {}
    monkeypatch.setattr(
        predictor, "record_metric", lambda name, value: predictor.metrics.update({name: value})
    )
    return predictor


def run(predictor: Any, **inputs: Any) -> list[Path]:
    """What `predict()` yields, with every default of the schema, as Cog would call it."""
    properties = schema.schema(schema.PREDICT.read_text())["components"]["schemas"]["Input"]
    defaults = {name: entry.get("default") for name, entry in properties["properties"].items()}

    async def collect() -> list[Path]:
        return [path async for path in predictor.predict(**defaults | inputs)]

    return asyncio.run(collect())


def left_over(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_signature_takes_what_a_request_takes() -> None:
    fields = [name for name in Request.__dataclass_fields__ if name != "notes"]
    for predictor in (predict.Predictor, predict.Inpainting, predict.DepthToImage):
        parameters = [*inspect.signature(predictor.predict).parameters][1:]
        assert parameters == [*fields[:-1], "model"]
    *names, last = [*inspect.signature(predict.Upscaler.predict).parameters][1:]
    assert names == [name for name in fields if name in names]
    assert names[-1] == fields[-1] == "noise_level"
    assert last == "model"
    assert tuple(predict.SIZES) == request.SIZES
    assert tuple(predict.SCHEDULERS) == request.SCHEDULERS


def test_rows_and_precision_are_set_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MODEL": "demo", "ROWS": "4", "DTYPE": "bfloat16"}.items():
        monkeypatch.setenv(name, value)
    predictor = predict.Predictor()
    predictor.load()
    with closing(predictor.engine) as engine:
        assert engine.model.dtype == torch.bfloat16
        assert engine._room.now == 4 * 16 * 16


def test_the_setup_leaves_a_description_of_the_model_and_loading_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL", "demo")
    predictor = predict.Predictor()
    predictor.load()
    predictor.engine.close()
    assert capsys.readouterr().out == ""
    predictor.setup()
    predictor.engine.close()
    found = Description.read(capsys.readouterr().out)
    assert found
    assert (found.model, found.task, found.native_size) == ("demo", "img2img", 128)
    assert not found.checker
    assert found.samplers == request.SCHEDULERS
    assert found.versions["torch"] == torch.__version__
    assert found.vocabulary
    assert {"car", "automobile", "cup of coffee", "woman"} <= set(found.vocabulary.words)
    assert "blue" in found.vocabulary.colours
    assert found.vocabulary.sizes[0] == 128
    assert found.token_limit == 75
    assert found.tokenizer
    texts = ["a red apple", "", "  C++ (red:1.3)\n狐 ", "cat " * 100]
    counted = [len(predictor.engine.model.pipeline.tokenizer(text).input_ids) - 2 for text in texts]
    assert TokenCounter().counts(found.tokenizer, texts) == counted


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a prediction's request says beside its inputs."""
    context: dict[str, str] = {}
    monkeypatch.setattr("cog.current_scope", lambda: SimpleNamespace(context=context))
    return context


@pytest.mark.parametrize("setting", ["", "on", "off"])
def test_a_prediction_shows_previews_where_it_is_asked_to(
    setting: str, predictor: Any, asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREVIEWS", setting)
    monkeypatch.setenv("MODEL", "demo")
    monkeypatch.setenv("EXECUTOR", "plain")
    predictor.setup()
    with closing(predictor.engine):
        inputs = {"prompt": "a red apple", "seed": 1, "num_inference_steps": 40}
        (unseen,) = run(predictor, **inputs)
        assert "preview" not in predictor.metrics
        asked["previews"] = "on"
        (path,) = run(predictor, **inputs)
    assert path.read_bytes() == unseen.read_bytes()
    if setting == "off":
        assert "preview" not in predictor.metrics
        return
    preview = predictor.metrics["preview"]
    assert preview["index"] == 0
    kind, _, data = preview["url"].partition(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
        assert picture.size == (128, 128)


def test_what_the_checker_would_not_see_is_shown_only_where_that_is_meant(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREVIEWS", raising=False)
    assert startup.previews_of(demo, is_checked=True) is None
    for setting in ("on", "off"):
        monkeypatch.setenv("PREVIEWS", setting)
        previews = startup.previews_of(demo, is_checked=True)
        assert (previews is not None) is (setting == "on")
        if previews:
            previews.close()
    monkeypatch.setenv("PREVIEWS", "no")
    with pytest.raises(SetupError, match="PREVIEWS is 'no'; give on or off, or leave it empty"):
        startup.previews_of(demo, is_checked=False)


def test_the_setup_finds_upscalers_and_leaves_out_what_it_cant_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("demo", "manifest.json"):
        (folder / name).symlink_to(catalogue.WEIGHTS / name)
    tensors = rrdb.network()
    rrdb.write(folder / "upscalers" / "4x_Good.pth", rrdb.oldest(tensors))
    (folder / "upscalers" / "broken.safetensors").write_bytes(b"")
    (folder / "upscalers" / "README.md").write_text("mine")
    monkeypatch.setattr(catalogue, "WEIGHTS", folder)
    monkeypatch.setenv("MODEL", "demo")
    predictor = predict.Predictor()
    predictor.setup()
    with closing(predictor.engine):
        told = capsys.readouterr()
        found = Description.read(told.out)
        assert found
        assert found.upscalers == ("4x_Good",)
        (line,) = [line for line in told.err.splitlines() if "upscaler" in line]
        assert "broken.safetensors can't be read (it is empty)" in line
        alone = {"prompt": "", "image": FLOWER, "crop": "0,0,40,60", "strength": 0}
        alone |= {"refine_scale": 4, "refine_strength": 0}
        (path,) = run(predictor, **alone, upscaler="4x_Good")
        expected = rrdb.enlarged(tensors, images.read_image(FLOWER).crop((0, 0, 40, 60)))
        assert difference(opened(path), expected)[0] <= 1
        assert images.read_metadata(path)["upscaler"] == "4x_Good"
        with pytest.raises(InputError) as caught:
            run(predictor, **{**alone, "upscaler": "broken", "num_images": 9})
        assert caught.value.faults[1] == ('upscaler: "broken" is not allowed; give one of 4x_Good')
        run(predictor, **{**alone, "upscaler": "4x_Good", "refine_scale": 1.0})
        assert "upscaler: has no effect without a refine_scale above" in capsys.readouterr().out


def test_loras_and_embeddings_come_and_go_while_the_model_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("demo", "manifest.json"):
        (weights / name).symlink_to(catalogue.WEIGHTS / name)
    monkeypatch.setattr(catalogue, "WEIGHTS", weights)
    monkeypatch.setenv("MODEL", "demo")
    monkeypatch.setenv("EXECUTOR", "plain")
    predictor = predict.Predictor()
    predictor.setup()
    metrics: dict[str, Any] = {}
    monkeypatch.setattr(
        predictor, "record_metric", lambda name, value: metrics.update({name: value})
    )
    few = {"prompt": "a cat", "seed": 0, "num_inference_steps": 3}
    with closing(predictor.engine):
        found = Description.read(capsys.readouterr().out)
        assert found
        assert not found.loras
        assert not found.embeddings
        (plain,) = run(predictor, **few)
        assert metrics["adapters"] == {"loras": [], "embeddings": []}

        pipeline = predictor.engine.model.pipeline
        layers = lora_files.layers_of(pipeline, lora_files.in_attention)
        (weights / "loras").mkdir()
        path = lora_files.write(
            weights / "loras" / "ink.safetensors", lora_files.kohya(layers), trigger="in ink"
        )
        width = pipeline.text_encoder.config.hidden_size
        (weights / "embeddings").mkdir()
        lora_files.write(
            weights / "embeddings" / "moody.safetensors", {"<gloom>": torch.ones(2, width)}
        )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (drawn,) = run(predictor, **few, loras=["ink:0.5"])
        assert difference(opened(drawn), opened(plain))[0] > 20
        assert images.read_metadata(drawn)["loras"] == [f"ink@{digest[:12]}:0.5"]
        (lora,), (embedding,) = metrics["adapters"]["loras"], metrics["adapters"]["embeddings"]
        assert lora == {"name": "ink", "hash": digest, "trigger": "in ink", "reason": None}
        assert embedding["tokens"] == ["moody", "<gloom>"]
        prompts = ["a cat <gloom>", "a cat moody", "a cat with"]
        by_token, by_name, by_word = (
            opened(run(predictor, **{**few, "prompt": prompt})[0]) for prompt in prompts
        )
        assert difference(by_token, by_name) == (0, 0)
        assert difference(by_token, by_word)[0] > 2

        lora_files.write(path, lora_files.peft(layers))
        with pytest.raises(InputError, match="its file has become another one"):
            run(predictor, **few, loras=[f"ink@{digest[:12]}"])
        assert metrics["adapters"]["loras"][0]["hash"] != digest
        (again,) = run(predictor, **few, loras=["ink:1"])
        assert difference(opened(again), opened(plain))[0] > 20

        shutil.rmtree(weights / "loras")
        shutil.rmtree(weights / "embeddings")
        with pytest.raises(InputError, match="no LoRA for this model is installed"):
            run(predictor, **few, loras=["ink"])
        assert metrics["adapters"] == {"loras": [], "embeddings": []}
        assert difference(opened(run(predictor, **few)[0]), opened(plain)) == (0, 0)


def test_the_checker_is_on_where_it_is_unless_it_is_turned_off(
    demo: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SAFETY_CHECKER")
    random_checker.write(tmp_path, FLAGGED)
    monkeypatch.setattr(safety, "find_checker", lambda: tmp_path)
    for setting in ("", "on"):
        monkeypatch.setenv("SAFETY_CHECKER", setting)
        checker = startup.checker_beside(demo)
        assert checker
        assert checker.is_nsfw(FLAGGED)
        assert not checker.is_nsfw(Image.new("RGB", (99, 99)))
    monkeypatch.setenv("SAFETY_CHECKER", "off")
    assert startup.checker_beside(demo) is None
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("SAFETY_CHECKER", "no")
    fault = "SAFETY_CHECKER is 'no'; give on or off, or leave it empty"
    with pytest.raises(SetupError, match=fault):
        startup.checker_beside(demo)


def test_a_checker_that_is_not_there_is_told_or_refused(
    demo: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SAFETY_CHECKER")
    monkeypatch.setattr(safety, "find_checker", lambda: None)
    assert startup.checker_beside(demo) is None
    assert capsys.readouterr().err == (
        "The NSFW checker is not downloaded, so no picture is checked; "
        "scripts/download-weights safety-checker downloads it.\n"
    )
    monkeypatch.setenv("SAFETY_CHECKER", "on")
    with pytest.raises(SetupError, match="run: scripts/download-weights safety-checker"):
        startup.checker_beside(demo)


def test_what_a_predictor_needs_is_asked_for_in_the_same_breath(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        predict.Inpainting.read({"prompt": "", "num_images": 9})
    assert [fault.partition(" ")[0] for fault in caught.value.faults] == [
        "image:",
        "mask:",
        "num_images:",
    ]
    broken = tmp_path / "text.png"
    broken.write_text("hello")
    with pytest.raises(InputError) as caught:
        predict.Inpainting.read({"prompt": "", "image": broken})
    first, second = caught.value.faults
    assert first.startswith("image: the file is not a picture")
    assert second == "mask: is required"
    with pytest.raises(InputError, match="^image: is required$"):
        predict.Upscaler.read({"prompt": ""})


def test_flagged_images_are_left_out_and_told(
    predictor: Any, demo: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Image.Image] = []

    class Censor:
        def is_nsfw(self, picture: Image.Image) -> bool:
            seen.append(picture)
            return len(seen) != 2

    predictor.engines = serving(Engine(demo, checker=Censor()))  # type: ignore[arg-type]
    (path,) = run(predictor, prompt="a rose", num_images=3, seed=4, num_inference_steps=1)
    assert difference(opened(path), seen[1]) == (0, 0)
    assert predictor.metrics["images"] == [
        {"index": 0, "seed": 4, "nsfw": True, "file": None},
        {"index": 1, "seed": 5, "nsfw": False, "file": path.name},
        {"index": 2, "seed": 6, "nsfw": True, "file": None},
    ]
    assert "image 2, of seed 6, is left out: NSFW content detected" in capsys.readouterr().out
    with pytest.raises(NsfwError, match="NSFW content detected. Try running it again, or try a"):
        run(predictor, prompt="a rose", num_inference_steps=1)
    assert predictor.metrics["failure"] == "nsfw"
    predictor.engine.close()


def test_what_is_wrong_with_the_inputs_is_a_failure_of_its_kind(
    predictor: Any, tmp_path: Path
) -> None:
    broken = tmp_path / "text.png"
    broken.write_text("hello")
    with pytest.raises(InputError, match="^image: the file is not a picture"):
        run(predictor, prompt="a rose", image=broken)
    assert predictor.metrics["failure"] == "inputs"


def test_too_little_memory_is_told_to_be_the_machines_fault(
    predictor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(work: Any) -> Any:
        raise MemoryError("The machine had no memory left to read a picture")

    monkeypatch.setattr(DecoderProcesses, "run", lambda _, work: fail(work))
    with pytest.raises(MemoryError):
        run(predictor, prompt="a rose", image=FLOWER)
    assert predictor.metrics["failure"] == "memory"


@pytest.mark.parametrize("name", ["DepthToImage", "Upscaler"])
def test_a_model_of_another_task_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", "demo")
    with pytest.raises(SetupError, match="demo is a model for img2img, and not for"):
        getattr(predict, name)().setup()


def test_a_mask_that_was_fitted_is_told(
    predictor: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = tmp_path / "mask.png"
    picture = Image.new("RGBA", (60, 40), "white")
    picture.putpixel((0, 0), (0, 0, 0, 0))
    picture.save(mask)
    run(predictor, prompt="a rose", image=FLOWER, mask=mask, num_inference_steps=1)
    told = capsys.readouterr().out.splitlines()
    assert told[1:3] == [
        "mask: its mode RGBA was read as greyscale, its transparent parts as black",
        "mask: its 60 × 40 pixels were fitted like the image's 512 × 512",
    ]


@pytest.mark.parametrize(
    ("mode", "colour", "told"),
    [
        ("RGB", "white", []),
        ("RGBA", "white", []),
        ("L", 127, ["mask: it preserves all of the picture, so nothing is repainted"]),
        (
            "RGB",
            "red",
            [
                "mask: its mode RGB was read as greyscale, its transparent parts as black",
                "mask: it preserves all of the picture, so nothing is repainted",
            ],
        ),
    ],
)
def test_what_a_mask_loses_or_lacks_is_told(
    predictor: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    mode: str,
    colour: Any,
    told: list[str],
) -> None:
    Image.new(mode, (512, 512), colour).save(tmp_path / "mask.png")
    inputs = {"image": FLOWER, "mask": tmp_path / "mask.png", "num_inference_steps": 1}
    run(predictor, prompt="a rose", **inputs)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("mask: ")] == told
    assert predictor.metrics.get("notes", []) == told


def test_masks_of_other_programs_preserve_what_they_mean_to(
    predictor: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = (128, 128)
    fitted = images.fit(images.read_image(FLOWER), size)
    half_mask(size).save(tmp_path / "white-right.png")
    layer = Image.new("RGBA", size, "white")
    layer.putalpha(half_mask(size))  # transparent on the left
    layer.save(tmp_path / "clear-left.png")

    def draw(mask: str, **options: Any) -> Image.Image:
        inputs = {"image": FLOWER, "mask": tmp_path / mask, "num_inference_steps": 4, "seed": 1}
        (path,) = run(predictor, prompt="a castle", width=128, height=128, **inputs, **options)
        return opened(path)

    left, right = (0, 0, 64, 128), (64, 0, 128, 128)
    for picture, kept, drawn in (
        (draw("white-right.png"), left, right),
        (draw("white-right.png", invert_mask=True), right, left),
        (draw("white-right.png", mask_source="alpha", invert_mask=True), left, right),
        (draw("clear-left.png", mask_source="alpha"), right, left),
        (draw("clear-left.png", mask_source="alpha", invert_mask=True), right, left),
        (draw("clear-left.png", mask_source="opacity"), left, right),
        (draw("clear-left.png", mask_source="opacity", invert_mask=True), right, left),
        (draw("clear-left.png"), left, right),
        (draw("clear-left.png", invert_mask=True), right, left),
    ):
        assert difference(picture.crop(kept), fitted.crop(kept)) == (0, 0)
        assert difference(picture.crop(drawn), fitted.crop(drawn))[1] > 2
    assert "invert_mask: has no effect where mask_source is alpha" in capsys.readouterr().out

    soft = draw("white-right.png", mask_blur=16)
    assert difference(soft.crop(left), fitted.crop(left)) == (0, 0)
    # Near the edge, the softened mask lets more of the image through.
    edge, sharp = (64, 0, 68, 128), draw("white-right.png")
    assert (
        difference(soft.crop(edge), fitted.crop(edge))[1]
        < 0.5 * (difference(sharp.crop(edge), fitted.crop(edge))[1])
    )


def test_a_mask_whose_white_is_cropped_away_is_told(
    predictor: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (512, 128), "white").save(tmp_path / "wide.png")
    mask = Image.new("L", (512, 128))
    mask.paste(255, (0, 0, 60, 128))
    mask.save(tmp_path / "mask.png")
    inputs = {"image": tmp_path / "wide.png", "mask": tmp_path / "mask.png"}
    run(predictor, prompt="a rose", width=128, height=128, num_inference_steps=1, **inputs)
    assert "mask: it preserves all of the picture" in capsys.readouterr().out


def test_weights_of_another_program_are_told_in_the_logs(
    predictor: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run(predictor, prompt="a (red:1.8) fox", use_compel=True, num_inference_steps=1)
    assert 'compel reads "(red:1.8)" as words; give (red)1.8' in capsys.readouterr().out
    assert "give (red)1.8" in predictor.metrics["notes"][0]
    run(predictor, prompt="a (red:1.8) fox", num_inference_steps=1)
    assert "compel" not in capsys.readouterr().out


def test_what_a_small_model_does_not_know_is_told_with_what_it_does(
    predictor: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run(predictor, prompt="a bicycle repair shop", num_inference_steps=1)
    (note,) = predictor.metrics.pop("notes")
    things = len(predictor.engine.model.vocabulary.things)
    assert note == (
        f'prompt: the demo model knows {things} things, and "a bicycle repair shop" names none of '
        "them; nearest: bicycle. scripts/download-weights gets a model that knows the world"
    )
    assert note in capsys.readouterr().out.splitlines()
    run(predictor, prompt="a zeppelin", num_inference_steps=1)
    assert '"a zeppelin" names none of them. scripts/' in predictor.metrics.pop("notes")[0]
    for inputs in ({"prompt": "a car"}, {"prompt": "", "strength": 0, "image": FLOWER}):
        run(predictor, num_inference_steps=1, **inputs)
        assert "notes" not in predictor.metrics
    assert "things" not in capsys.readouterr().out.partition("a zeppelin")[2].partition("\n")[2]


def test_a_size_at_which_a_small_model_repeats_things_is_told(
    predictor: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    largest = max(predictor.engine.model.vocabulary.sizes)
    run(predictor, prompt="a car", width=512, height=128, num_inference_steps=1)
    (note,) = predictor.metrics.pop("notes")
    assert note == (
        f"size: the demo model draws well up to {largest} × {largest} px; at 512 × 128 px, "
        "things repeat"
    )
    assert note in capsys.readouterr().out.splitlines()
    run(predictor, prompt="a car", width=largest, height=largest, num_inference_steps=1)
    assert "notes" not in predictor.metrics


def test_of_a_model_that_knows_the_world_nothing_is_told(
    demo: Model, predictor: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Engine(dataclasses.replace(demo, vocabulary=None), executor="plain")) as engine:
        predictor.engines = serving(engine)
        run(predictor, prompt="a bicycle repair shop", width=512, num_inference_steps=1)
        assert predictor.description()["vocabulary"] is None
    assert "notes" not in predictor.metrics
    assert "things" not in capsys.readouterr().out


@pytest.mark.parametrize("rows", ["1", "many", "-2", "2.5"])
def test_rows_that_make_no_sense_are_refused(rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWS", rows)
    with pytest.raises(SetupError, match=f"ROWS is '{rows}'; give a whole number of at least 2"):
        predict.Predictor().setup()


def test_a_prediction_yields_files_with_their_metadata_and_tells_the_metrics(
    predictor: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = run(
        predictor, prompt="a red apple", image=FLOWER, num_images=2, seed=0, num_inference_steps=5
    )
    assert [path.suffix for path in paths] == [".png", ".png"]
    assert len({path.name for path in paths}) == 2
    for index, path in enumerate(paths):
        assert images.read_metadata(path) == {
            "prompt": "a red apple",
            "negative_prompt": "",
            "seed": index,
            "num_inference_steps": 5,
            "guidance_scale": 7.5,
            "strength": 0.8,
            "scheduler": "DPMSolverMultistep",
            "spacing": "default",
            "eta": 0,
            "clip_skip": 0,
            "use_compel": False,
            "model": "demo",
            "version": "0.1.0",
        }
    memory = predictor.metrics.pop("device_memory")
    assert 100 * 2**20 < memory < psutil.virtual_memory().total
    assert {one["name"] for one in predictor.metrics.pop("adapters")["loras"]} >= {"blueprint"}
    measured = predictor.metrics.pop("engine")
    names = [phase["name"] for phase in measured["phases"]]
    assert names[:4] == ["read", "text", "image", "denoise"]
    assert sorted(names[4:]) == sorted(["decode", "finish", "save"] * 2)
    assert all(phase["end"] >= phase["start"] >= 0 for phase in measured["phases"])
    assert (measured["calls"], measured["rows_per_call"]) == (4, 4)
    assert measured["totals"]["calls"] >= 4
    assert predictor.metrics == {
        "warming": False,
        "progress": {"step": 4, "steps": 4, "seconds_left": 0},
        "images": [
            {"index": index, "seed": index, "nsfw": None, "file": path.name}
            for index, path in enumerate(paths)
        ],
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "seed 0"
    assert lines[1].startswith("step 1 of 4, ")


def infotext_of(path: Path) -> dict[str, str]:
    with Image.open(path) as picture:
        return infotext.read(picture.info["parameters"])


def test_a_picture_carries_what_image_browsers_read(predictor: Any) -> None:
    inputs = {"negative_prompt": "blue", "num_inference_steps": 2, "seed": 7, "num_images": 2}
    prompt = "a red apple,\non a: table"
    first, second = run(predictor, prompt=prompt, scheduler="K_EULER_ANCESTRAL", **inputs)
    expected = {
        "Prompt": prompt,
        "Negative prompt": "blue",
        "Steps": "2",
        "Sampler": "Euler a",
        "CFG scale": "7.5",
        "Seed": "7",
        "Size-1": "128",
        "Size-2": "128",
        "Model": "demo",
    }
    assert infotext_of(first) == expected
    assert infotext_of(second) == expected | {"Seed": "8"}
    (path,) = run(predictor, prompt="", image=FLOWER, strength=0.5, result_size="72x96")
    found = infotext_of(path)
    assert (found["Denoising strength"], found["Size-1"], found["Size-2"]) == ("0.5", "72", "96")
    mask = {"mask": EXAMPLES / "flower-mask.png", "mask_blur": 3, "invert_mask": True}
    (path,) = run(predictor, prompt="", image=FLOWER, num_inference_steps=2, refine_scale=2, **mask)
    found = infotext_of(path)
    assert (found["Size-1"], found["Hires upscale"], found["Hires strength"]) == ("128", "2", "0.4")
    assert (found["Mask blur"], found["Mask mode"]) == ("3", "Inpaint not masked")


def test_the_files_and_the_logs_say_how_a_result_got_its_size(
    predictor: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = {"prompt": "a castle", "result_size": "100X136", "resample": "nearest"}
    (drawn,) = run(predictor, num_inference_steps=1, **inputs)
    (fitted,) = run(predictor, image=FLOWER, strength=0, **inputs)
    assert opened(drawn).size == opened(fitted).size == (100, 136)
    told = {"result_size": "100x136", "resample": "nearest", "width": 128, "height": 192}
    assert images.read_metadata(drawn).items() >= told.items()
    assert images.read_metadata(fitted).items() >= (told | {"width": None, "height": None}).items()
    how = "scaled and cropped to 100 × 136 px by the filter nearest"
    logs = capsys.readouterr().out
    assert f"result_size: drawn at 128 × 192 px, then {how}\n" in logs
    assert f"result_size: the image is {how}\n" in logs
    run(predictor, prompt="", image=FLOWER, strength=0, resample="nearest")
    assert "resample: has no effect without a result_size, keep_size or" in capsys.readouterr().out


def test_the_files_and_the_logs_say_what_of_the_image_was_used_and_drawn(
    predictor: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = tmp_path / "mask.png"
    half_mask((512, 512)).save(mask)
    inputs = {"image": FLOWER, "num_inference_steps": 1, "seed": 3}
    usual = {"result_size", "only_masked", "extend_left", "keep_size", "resize_mode", "crop"}
    for asked, told in (
        ({}, {}),
        ({"crop": "1, 2, 300,200"}, {"crop": "1,2,300,200", "width": 256, "height": 128}),
        ({"keep_size": True}, {"keep_size": True, "width": 512, "height": 512}),
        ({"extend_left": 64}, {"extend_left": 64, "width": 128, "height": 128}),
        (
            {"mask": mask, "only_masked": True, "width": 128, "crop": "0,0,512,400"},
            {"only_masked": True, "only_masked_padding": 32, "width": 128, "height": 128},
        ),
        ({"resize_mode": "stretch"}, {"resize_mode": "stretch", "width": 128}),
    ):
        (path,) = run(predictor, prompt="a castle", **inputs, **asked)
        made = images.read_metadata(path)
        assert made.items() >= told.items()
        names = told.keys() | asked.keys()
        assert made.keys() & usual == names & usual
        # What the file says makes the same picture again.
        again = {name: made[name] for name in (names | {"width", "height"}) & made.keys()}
        (same_path,) = run(predictor, prompt="a castle", **{**inputs, **asked, **again})
        assert difference(opened(path), opened(same_path)) == (0, 0)
    capsys.readouterr()
    run(predictor, prompt="", mask=mask, only_masked=True, resize_mode="pad", **inputs)
    logs = capsys.readouterr().out
    assert "resize_mode: has no effect with only_masked\n" in logs
    assert "only_masked: the part of " in logs
    (path,) = run(predictor, prompt="", mask=mask, only_masked=True, **inputs)
    fields = infotext_of(path)
    assert (fields["Inpaint area"], fields["Masked area padding"]) == ("Only masked", "32")


def test_the_watermark_spares_what_lies_around_a_part_that_is_drawn(
    predictor: Any, tmp_path: Path
) -> None:
    half_mask((512, 512)).save(tmp_path / "mask.png")
    asked = {"image": FLOWER, "mask": tmp_path / "mask.png", "only_masked": True}
    (path,) = run(predictor, prompt="a castle", num_inference_steps=2, **asked)
    flower, left = images.read_image(FLOWER), (0, 0, 256, 512)
    assert opened(path).size == flower.size
    assert difference(opened(path).crop(left), flower.crop(left)) == (0, 0)


def test_pictures_from_256_pixels_on_carry_the_watermark(predictor: Any) -> None:
    decoder = WatermarkDecoder("bytes", 8 * len(watermark.MARK))

    def mark(**inputs: Any) -> bytes:
        (path,) = run(predictor, prompt="a castle", width=256, num_inference_steps=4, **inputs)
        decoded: bytes = decoder.decode(numpy.asarray(opened(path))[..., ::-1], "dwtDct")
        return decoded

    assert mark(height=256) == watermark.MARK
    assert mark(height=384, image=FLOWER) == watermark.MARK
    # What counts is the result's size.
    assert mark(height=256, result_size="300x264") == watermark.MARK
    assert mark(height=256, result_size="900x700", resample="nearest") == watermark.MARK
    assert mark(height=64, image=FLOWER, result_size="256x256") == watermark.MARK
    # Nothing was made there.
    assert mark(height=256, image=FLOWER, strength=0) != watermark.MARK


def test_the_watermark_spares_what_a_mask_preserves(predictor: Any, tmp_path: Path) -> None:
    size, left, right = (256, 256), (0, 0, 128, 256), (128, 0, 256, 256)
    half_mask(size).save(tmp_path / "mask.png")
    inputs = {"image": FLOWER, "mask": tmp_path / "mask.png", "width": 256, "height": 256}
    fitted = images.fit(images.read_image(FLOWER), size)
    for sides in ({}, {"width": 64, "height": 64, "result_size": "256x256"}):
        inputs |= sides
        (path,) = run(predictor, prompt="a castle", num_inference_steps=2, seed=1, **inputs)
        marked = opened(path)
        assert difference(marked.crop(left), fitted.crop(left)) == (0, 0)
        # The mark begins anew in every 17 rows of blocks; the right half has it still.
        assert difference(marked.crop(right), fitted.crop(right))[1] > 5


def test_the_output_format_is_that_of_the_file(predictor: Any) -> None:
    for kind, start in (("jpg", b"\xff\xd8"), ("webp", b"RIFF"), ("png", b"\x89PNG")):
        (path,) = run(predictor, prompt="", image=FLOWER, strength=0, output_format=kind)
        assert path.suffix == f".{kind}"
        assert path.read_bytes().startswith(start)


def test_bad_inputs_are_named_all_at_once_and_leave_nothing(predictor: Any, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("hello")
    with pytest.raises(InputError) as caught:
        run(
            predictor,
            prompt='("a", "b").blend(1)',
            negative_prompt="a.swap(b)",
            use_compel=True,
            image=text,
            mask="/etc/hostname",
            num_images=9,
            seed=2**70,
        )
    named = [fault.partition(":")[0] for fault in caught.value.faults]
    assert named == ["image", "mask", "prompt", "negative_prompt", "num_images", "seed"]
    assert left_over(tmp_path) == [text]


def test_a_mask_needs_an_image(predictor: Any) -> None:
    with pytest.raises(InputError, match="mask: there is no image to repaint"):
        run(predictor, prompt="", mask=FLOWER)


def test_what_is_nested_deeply_is_refused_by_name() -> None:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    names = ("prompt", "image", "mask", "width", "scheduler", "crop", "upscaler")
    with pytest.raises(InputError) as caught:
        predict.Predictor.read(dict.fromkeys(names, nested))
    assert {fault.partition(":")[0] for fault in caught.value.faults} == set(names)
    assert max(map(len, caught.value.faults)) < 400


def test_a_failure_on_the_way_leaves_no_file(predictor: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prompt: its weights"):
        run(predictor, prompt="(cat)" + "9" * 40, use_compel=True)
    assert left_over(tmp_path) == []


def test_cancelling_ends_the_work_and_leaves_no_file(predictor: Any, tmp_path: Path) -> None:
    asked = predict.Predictor.read({"prompt": "a red apple", "num_inference_steps": 500})

    async def cancelled() -> None:
        told = asyncio.Event()
        files = results.generate_files(predictor.engine, asked, lambda _: told.set())
        task = asyncio.ensure_future(anext(files))
        await told.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert left_over(tmp_path) == []
    assert len(run(predictor, prompt="a red apple", num_inference_steps=1)) == 1


def test_cancelling_while_a_file_is_written_leaves_none(
    predictor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = predict.Predictor.read({"prompt": "", "image": FLOWER, "strength": 0})
    save, loop_was_free = images.save, list[bool]()

    async def cancelled() -> None:
        loop, writing = asyncio.get_running_loop(), asyncio.Event()

        def slowly(*arguments: Any) -> None:
            loop.call_soon_threadsafe(writing.set)
            time.sleep(0.5)
            save(*arguments)

        monkeypatch.setattr(images, "save", slowly)
        files = results.generate_files(predictor.engine, asked, lambda _: None)
        task = asyncio.ensure_future(anext(files))
        await writing.wait()
        loop_was_free.append(not task.done())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert loop_was_free == [True]
    assert left_over(tmp_path) == []


def test_files_of_old_predictions_are_removed_and_newer_ones_kept(
    predictor: Any, tmp_path: Path
) -> None:
    options = {"prompt": "", "image": FLOWER, "strength": 0}
    (old,), (new,) = run(predictor, **options), run(predictor, **options)
    past = time.time() - 2 * results.KEPT_SECONDS
    os.utime(old.parent, (past, past))
    run(predictor, **options)
    assert not old.exists()
    assert new.exists()


def test_strength_zero_comes_back_pixel_for_pixel_in_a_png(predictor: Any) -> None:
    (path,) = run(predictor, prompt="", image=FLOWER, strength=0)
    assert difference(opened(path), images.fit(images.read_image(FLOWER), (128, 128))) == (0, 0)


def test_several_predictions_run_at_once_and_keep_apart(predictor: Any) -> None:
    async def collect(seed: int) -> list[Path]:
        asked = predict.Predictor.read(
            {"prompt": "a red apple", "seed": seed, "num_inference_steps": 4}
        )
        return [
            path
            async for _, path in results.generate_files(predictor.engine, asked, lambda _: None)
        ]

    async def together() -> list[list[Path]]:
        return await asyncio.gather(*(collect(seed) for seed in range(3)))

    seeds = [images.read_metadata(path)["seed"] for (path,) in asyncio.run(together())]
    assert seeds == [0, 1, 2]


def test_a_long_prompt_is_told_in_the_logs(
    predictor: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run(predictor, prompt="apple " * 100, num_inference_steps=1)
    assert "prompt: longer than the model reads; the last" in capsys.readouterr().out


def test_the_example_pictures_can_be_read() -> None:
    for path in EXAMPLES.glob("*.png"):
        assert min(images.read_image(path).size) >= 512
