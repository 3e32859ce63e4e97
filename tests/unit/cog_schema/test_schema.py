from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import predict
from cog_schema import schema
from cog_schema.schema import SchemaError
from stable_diffusion import catalogue
from stable_diffusion.request import EXTENSIONS

SOURCE = schema.PREDICT.read_text()
PRINTED_BY_COG = Path(__file__).parent / "cog_schema.json"
"""What the generator in `cog build` 0.22 prints for the signatures of predict.py."""

SIZES = list(range(64, 1024 + 1, 64))
CONTRACT: list[tuple[str, str, Any, Any, str]] = [
    # name, type, default, allowed, documented text
    ("prompt", "string", ..., None, "text prompt"),
    ("negative_prompt", "string", "", None, "negative text prompt"),
    ("image", "file", None, None, "starting image to use"),
    ("num_images", "integer", 1, (1, 4), "number of images to generate"),
    ("num_inference_steps", "integer", 25, (1, 512), "number of denoising steps"),
    (
        "guidance_scale",
        "number",
        7.5,
        (1, 20),
        "classifier-free guidance, higher means follow prompt more closely",
    ),
    (
        "strength",
        "number",
        0.8,
        (0, 1),
        "how much to follow the input image. 1 means ignore the image, 0 means follow the image "
        "exactly",
    ),
    ("width", "integer", None, SIZES, "image width in px"),
    ("height", "integer", None, SIZES, "image height in px"),
    ("seed", "integer", None, (0, 2**53 - 1), "random seed, empty means random"),
    ("use_compel", "boolean", False, None, "use compel library for weighted prompts"),
]
"""The documented inputs, in their order."""


def test_the_schema_is_the_one_that_cog_prints() -> None:
    printed = json.loads(PRINTED_BY_COG.read_text())
    made = schema.schema(SOURCE)
    assert made["info"]["title"] == printed["info"]["title"]
    for document in (made, printed):
        del document["info"]["version"]
    assert made == printed


def test_the_schema_is_the_contracts_table() -> None:
    schemas = schema.schema(SOURCE)["components"]["schemas"]
    properties = schemas["Input"]["properties"]
    assert schemas["Input"]["required"] == ["prompt"]
    assert list(properties)[: len(CONTRACT)] == [name for name, *_ in CONTRACT]
    for order, (name, kind, default, allowed, text) in enumerate(CONTRACT):
        entry = properties[name]
        assert (entry["x-order"], entry["description"]) == (order, text)
        assert entry.get("default", ...) == default
        assert entry.get("nullable", False) == (default is None)
        if isinstance(allowed, list):
            assert schemas[name]["enum"] == allowed
            assert schemas[name]["type"] == kind
        elif kind == "file":
            assert (entry["type"], entry["format"]) == ("string", "uri")
        else:
            assert entry["type"] == kind
            assert (entry.get("minimum"), entry.get("maximum")) == (allowed or (None, None))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('description="text prompt"', 'description="text" " prompt"'),
        ('description="text prompt"', 'description=("text prompt")'),
        ('description="text prompt"', 'description=f"text prompt"'),
        ('description="text prompt"', "description=TEXT"),
        ('default="")', "default=EMPTY)"),
        ("le=512", "le=2**9"),
        ("le=512", "le=MOST"),
        ("choices=SIZES", "choices=tuple(SIZES)"),
        ("choices=SIZES", "choices=IMPORTED"),
        ('choices=["png", "webp", "jpg"]', 'choices=("png", "webp", "jpg")'),
        ('choices=["png", "webp", "jpg"]', 'choices=[kind for kind in "ab"]'),
        ("SCHEDULERS = [", "SCHEDULERS = list(X) + ["),
        ("ge=1, le=4", "gt=0, le=4"),
        ("width: Optional[int]", "width: int"),
        ("num_images: int", "num_images: Optional[int]"),
        ("scheduler: str", 'scheduler: Literal["DDIM"]'),
        ("scheduler: str", "scheduler: Scheduler"),
        ("prompt: str = Inputs.prompt", "prompt: str = Imported.prompt"),
        ("prompt: str = Inputs.prompt", 'prompt: str = "a cat"'),
        ("prompt: str = Inputs.prompt", "prompt: str"),
        ("prompt: str = Inputs.prompt", 'prompt: str = cog.Input(description="x")'),
        ('prompt = Input(description="text prompt")', 'prompt = Input("text prompt")'),
        ("    @cog.streaming", "    @torch.inference_mode()\n    @cog.streaming"),
        ("-> AsyncIterator[Path]:\n        inputs", "-> Optional[Path]:\n        inputs"),
    ],
)
def test_what_cog_would_drop_in_silence_is_refused(good: str, bad: str) -> None:
    assert good in SOURCE
    with pytest.raises(SchemaError, match=r"predict.py, line \d+: "):
        schema.schema(SOURCE.replace(good, bad, 1))


def inputs_of(predictor: str) -> tuple[dict[str, Any], list[str]]:
    """The inputs of a predictor without their order, and which of them are required."""
    entries = schema.schema(SOURCE, predictor)["components"]["schemas"]["Input"]
    inputs = {
        name: {key: value for key, value in entry.items() if key != "x-order"}
        for name, entry in entries["properties"].items()
    }
    return inputs, entries["required"]


def required(entry: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if k not in ("default", "nullable")} | changes


def test_the_sibling_models_have_the_contracts_differences() -> None:
    usual, _ = inputs_of("Predictor")
    assert inputs_of("Inpainting") == (
        usual
        | {
            "image": required(usual["image"]),
            "mask": required(
                usual["mask"],
                description="White pixels are inpainted and black pixels are preserved",
            ),
            "strength": usual["strength"] | {"default": 1},
        },
        ["prompt", "image", "mask"],
    )
    assert inputs_of("DepthToImage") == (
        usual | {"image": required(usual["image"])},
        ["prompt", "image"],
    )
    inputs, needed = inputs_of("Upscaler")
    level = inputs.pop("noise_level")
    assert (level["type"], level["minimum"], level["maximum"]) == ("integer", 0, 350)
    assert level["default"] == 20
    assert needed == ["prompt", "image"]
    gone = [
        *("width", "height", "result_size", "resample", "keep_size", "resize_mode", "crop"),
        *("strength", "mask", "mask_source", "invert_mask", "mask_blur", "mask_grow"),
        *("only_masked", "only_masked_padding", *EXTENSIONS, "tiling"),
        *("refine_scale", "refine_strength", "refine_steps", "upscaler"),
    ]
    kept = {name: entry for name, entry in usual.items() if name not in gone}
    assert inputs == kept | {"image": required(usual["image"])}


def test_every_task_has_its_predictor() -> None:
    assert schema.PREDICTORS.keys() == catalogue.TASKS.keys()
    for task, name in schema.PREDICTORS.items():
        predictor = getattr(predict, name)
        assert predictor.task == task
        names = list(inspect.signature(predictor.predict).parameters)[1:]
        assert names == list(inputs_of(name)[0])


def test_the_schema_is_written_to_where_cogs_server_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "ROOT", tmp_path)
    path = schema.write()
    assert path == tmp_path / ".cog" / "openapi_schema.json"
    assert json.loads(path.read_text()) == schema.schema(SOURCE)


def test_the_concurrency_is_the_decorators() -> None:
    assert schema.concurrency(SOURCE) == 8
    assert schema.concurrency("") == 1
