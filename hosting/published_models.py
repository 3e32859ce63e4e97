"""The models that the front offers by name, and the Cog endpoint that each needs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Model:
    """A name that clients ask for, served by the endpoint of its task.

    owner, name: as Replicate has or had them; without an owner, the name that weights have in the
        catalogue, where nobody has published them under another.
    task: img2img (text to image too, and masked), inpainting, depth or upscale.
    description: a sentence for whoever looks the model up.
    defaults: by the contract's names, where the original's differ from the endpoint's schema.
        Width and height are never among them: left empty, they are the endpoint's native size,
        which is the original's 768 or 512 where the endpoint serves the original's weights.
    versions: the published ids that clients of the original have in their code.
    black_repainted: those of them in whose masks black was repainted and white preserved.
    """

    owner: str
    name: str
    task: str
    description: str
    defaults: Mapping[str, Any] = field(hash=False)
    versions: tuple[str, ...] = ()
    black_repainted: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Its name for clients: owner/name."""
        return f"{self.owner}/{self.name}" if self.owner else self.name


# Of stability-ai/stable-diffusion's versions of Stable Diffusion 1 (until November 2022), only
# 27b93a24 is here, which stood in the client's documentation. In their masks black was repainted,
# here it is white: a mask is refused with it, as the wrong part would be repainted.
_ORIGINALS = (
    Model(
        "stability-ai",
        "stable-diffusion",
        "img2img",
        "A picture from a text prompt.",
        {"num_inference_steps": 50},
        (
            "ac732df83cea7fff18b8472768c88ad041fa750ff7682a21affe81863cbe77e4",
            "db21e45d3f7023abc2a46ee38a23973f6dce16bb082a930b0c49861f96d1e5bf",
            "f178fa7a1ae43a9a9af01b833b9d2ecf97b1bcb0acfd2dc5dd04895e042863f1",
            "27b93a2413e7f36cd83da926f3656280b2931564ff050bf9575f1fdf9bcd7478",
        ),
        ("27b93a2413e7f36cd83da926f3656280b2931564ff050bf9575f1fdf9bcd7478",),
    ),
    Model(
        "stability-ai",
        "stable-diffusion-img2img",
        "img2img",
        "A picture from a text prompt and a starting image.",
        {},
        (
            "15a3689ee13b0d2616e98820eca31d4c3abcd36672df6afce5cb6feb1d66087d",
            "ddd4eb440853a42c055203289a3da0c8886b0b9492fe619b1c1dbd34be160ce7",
        ),
    ),
    Model(
        "stability-ai",
        "stable-diffusion-inpainting",
        "inpainting",
        "Repaints what is white in a mask.",
        {"num_inference_steps": 50},
        (
            "95b7223104132402a9ae91cc677285bc5eb997834bd2349fa486f53910fd68b3",
            "c2172c447eb69551b59f62fd2d61dd84054e9fb7bc8a42fbe398c2a7a072ed68",
            "c28b92a7ecd66eee4aefcd8a94eb9e7f6c3805d5f06038165407fb5cb355ba67",
        ),
    ),
    Model(
        "cjwbw",
        "stable-diffusion-v2",
        "img2img",
        "A picture from a text prompt.",
        {"num_inference_steps": 50, "scheduler": "K_EULER"},
        ("e5e1fd333a08c8035974a01dd42f799f1cca4625aec374643d716d9ae40cf2e4",),
    ),
    Model(
        "cjwbw",
        "stable-diffusion-img2img-v2.1",
        "img2img",
        "A picture from a text prompt and a starting image.",
        {},
        ("650c347f19a96c8a0379db998c4cd092e0734534591b16a60df9942d11dec15b",),
    ),
    Model(
        "jagilley",
        "stable-diffusion-depth2img",
        "depth",
        "A picture from a text prompt and an image, whose depth is kept.",
        {"num_inference_steps": 50},
        ("68f699d395bc7c17008283a7cef6d92edc832d8dc59eb41a6cafec7fc70b85bc",),
    ),
    Model(
        "pwntus",
        "stable-diffusion-depth2img",
        "depth",
        "A picture from a text prompt and an image, whose depth is kept.",
        {"num_inference_steps": 50},
    ),
    # The original left all but the prompt to the library's pipeline, whose defaults these are.
    # Its own prompt, where none was given, was that of the example: "A white cat".
    Model(
        "lucataco",
        "stable-diffusion-x4-upscaler",
        "upscale",
        "Four times the width and height of an image.",
        {"prompt": "", "num_inference_steps": 75, "guidance_scale": 9.0},
        ("c96e30cc409e6c5f68cd8b071b15fe819b23956669fd6461891000ee64545760",),
    ),
)
_WEIGHTS = {
    "img2img": (
        ("stability-ai", "stable-diffusion-2-1"),
        ("stability-ai", "stable-diffusion-2-1-base"),
        ("stability-ai", "stable-diffusion-2"),
        ("stability-ai", "stable-diffusion-2-base"),
        ("compvis", "stable-diffusion-v1-1"),
        ("compvis", "stable-diffusion-v1-2"),
        ("compvis", "stable-diffusion-v1-3"),
        ("compvis", "stable-diffusion-v1-4"),
        ("runwayml", "stable-diffusion-v1-5"),
    ),
    "inpainting": (("stability-ai", "stable-diffusion-2-inpainting"),),
    "depth": (("stability-ai", "stable-diffusion-2-depth"),),
    "upscale": (("stability-ai", "stable-diffusion-x4-upscaler"),),
}
"""By task, the names that the weights had, for whoever looks for those; with our defaults."""
_DESCRIPTIONS = {
    "img2img": "A picture from a text prompt, with or without a starting image and a mask.",
    "inpainting": "Repaints what is white in a mask.",
    "depth": "A picture from a text prompt and an image, whose depth is kept.",
    "upscale": "Four times the width and height of an image.",
}
MODELS: tuple[Model, ...] = _ORIGINALS + tuple(
    Model(owner, name, task, _DESCRIPTIONS[task], {"prompt": ""} if task == "upscale" else {})
    for task, names in _WEIGHTS.items()
    for owner, name in names
)


def find(reference: str) -> Model | None:
    """Return the model that a client means; None where there is none, or no such version of it.

    Args:
        reference: owner/name, in any case; owner/name:version; or a version alone, which is one of
            the original's published ids or `version_of` the model.
    """
    name, colon, version = reference.partition(":")
    for model in MODELS:
        versions = (version_of(model), *model.versions)
        if reference in versions:
            return model
        if name.lower() == model.id and (not colon or version in versions):
            return model
    return None


def offered(task: str, weights: str) -> Model:
    """Return the model by whose name the web form asks an endpoint.

    Args:
        weights: what the endpoint serves; `demo` is nobody's name.
    """
    of_task = [one for one in MODELS if one.task == task]
    return min(of_task, key=lambda one: (one.name != weights, len(one.defaults)))


def running(task: str, weights: str) -> Model:
    """Return the model that an endpoint runs, with the defaults of the endpoint's own schema.

    Args:
        weights: their name in the catalogue.
    """
    known = offered(task, weights)
    if known.name != weights:
        known = Model("", weights, task, _DESCRIPTIONS[task], {})
    return replace(known, defaults={})


def version_of(model: Model) -> str:
    """Our own version id: 64 hexadecimal digits, the same after a restart and an update.

    It is made of the name alone: a client that pins it means the model as this front serves it.
    """
    return hashlib.sha256(model.id.encode()).hexdigest()


def openapi_schema(model: Model, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return an endpoint's OpenAPI document with the model's defaults, and a list as output.

    Cog's `x-cog-array-type: iterator` is taken away, since for that the replicate client returns a
    generator instead of the originals' list.

    Args:
        schema: the document of the endpoint that serves the model; it is not changed.
    """
    document: dict[str, Any] = copy.deepcopy(dict(schema))
    schemas = document["components"]["schemas"]
    inputs = schemas["Input"]
    for name, value in model.defaults.items():
        inputs["properties"][name]["default"] = value
    inputs["required"] = [name for name in inputs["required"] if name not in model.defaults]
    schemas["Output"].pop("x-cog-array-type", None)
    return document
