"""The description of a model, which its worker leaves in the logs of its setup."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

LINE = re.compile(r"^(?:\[coglet::setup\] )?model (\{.*\})$", re.MULTILINE)
"""The line of the setup's logs that has it, as it was printed or as Cog hands it on."""


class Vocabulary(BaseModel):
    """What a small model draws: words of its prompts, and sizes."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    words: tuple[str, ...]
    """For the things that it draws."""
    colours: tuple[str, ...]
    backgrounds: tuple[str, ...]
    styles: tuple[str, ...]
    sizes: tuple[int, ...]
    """The sides in pixels of the squares that it draws well."""


class Description(BaseModel):
    """A model, as its predictor describes it (`Predictor.description` of predict.py)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    model: str
    """The name of its weights in the catalogue, or of their file or folder."""
    task: Literal["img2img", "inpainting", "depth", "upscale"]
    native_size: PositiveInt
    """The side in pixels of the square that it was trained on."""
    checker: bool
    """Whether its pictures go through the NSFW checker."""
    samplers: tuple[str, ...]
    """The choices of the input `scheduler`."""
    versions: Mapping[str, str]
    """By package, those that the worker runs with."""
    upscalers: tuple[str, ...] = ()
    """The names of the networks that its input `upscaler` takes."""
    vocabulary: Vocabulary | None = None
    """What the model draws; None where that is the world."""

    @classmethod
    def read(cls, logs: str) -> Description | None:
        """Return the description in a setup's logs; None where there is none.

        What a later version adds to it is left aside.
        """
        lines = LINE.findall(logs)
        try:
            return cls.model_validate_json(lines[-1]) if lines else None
        except ValidationError:
            return None
