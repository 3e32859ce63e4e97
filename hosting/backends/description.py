"""The description of a model, which its worker leaves in the logs of its setup."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

_Adapter = TypeVar("_Adapter", "Lora", "Embedding")
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


class Lora(BaseModel):
    """A LoRA that is installed where a worker runs."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    name: str
    hash: str
    """The SHA-256 of its file, in hexadecimal digits."""
    trigger: str | None = None
    """Words of a prompt that it was trained by, where its file says so."""
    reason: str | None = None
    """Why it can't be used with the model, as a sentence; None where it can."""


class Embedding(BaseModel):
    """An embedding that is installed where a worker runs."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    name: str
    tokens: tuple[str, ...]
    """By which prompts name it."""
    hash: str
    """As a LoRA's."""
    reason: str | None = None
    """Likewise."""


class Adapters(BaseModel):
    """What is installed beside a model, usable or not."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    loras: tuple[Lora, ...] = ()
    embeddings: tuple[Embedding, ...] = ()

    def for_names(self, names: Collection[str] | None) -> Adapters:
        """Return them with the LoRAs of these names only; None is all."""
        if names is None:
            return self
        loras = tuple(one for one in self.loras if one.name in names)
        return Adapters(loras=loras, embeddings=self.embeddings)


class ModelEntry(BaseModel):
    """One of the models of a worker that serves several.

    None is what is not known yet, or is said of the usual one elsewhere.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    name: str
    native_size: PositiveInt | None = None
    vocabulary: Vocabulary | None = None
    token_limit: PositiveInt | None = None
    tokenizer: str | None = Field(None, exclude=True)
    unusable: Mapping[Literal["loras", "embeddings"], Mapping[str, str]] = Field({}, exclude=True)
    """Why some of what is installed can't be used with it, by kind and name."""


_MODELS = TypeAdapter(tuple[ModelEntry, ...])


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
    loras: tuple[Lora, ...] = ()
    """Those that are installed, also what can't be used with the model."""
    embeddings: tuple[Embedding, ...] = ()
    """Likewise."""
    token_limit: PositiveInt | None = None
    """The tokens that it reads of a text, unless that is in compel's syntax."""
    tokenizer: str | None = Field(None, exclude=True)
    """The path of a file there by which they are counted; it is in no answer."""
    models: tuple[ModelEntry, ...] = Field((), exclude=True)
    """All that the worker serves, this one first; none where it is the only one."""

    @property
    def adapters(self) -> Adapters:
        """Its LoRAs and embeddings."""
        return Adapters(loras=self.loras, embeddings=self.embeddings)

    def with_adapters(self, adapters: Adapters) -> Description:
        """Return it with others."""
        new = {"loras": adapters.loras, "embeddings": adapters.embeddings}
        return self.model_copy(update=new)

    def with_models(self, models: tuple[ModelEntry, ...]) -> Description:
        """Return it with others that the worker serves, too."""
        return self.model_copy(update={"models": models})

    def of(self, name: str) -> Description:
        """Return the description of another model of the worker, as far as that is known."""
        found = next((one for one in self.models if one.name == name), None)
        if found is None or name == self.model:
            return self
        own = {
            "native_size": found.native_size or self.native_size,
            "vocabulary": found.vocabulary,
            "token_limit": found.token_limit,
            "tokenizer": found.tokenizer,
            "loras": _with_reasons(self.loras, found.unusable.get("loras", {})),
            "embeddings": _with_reasons(self.embeddings, found.unusable.get("embeddings", {})),
        }
        return self.model_copy(update={"model": name, **own})

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


def _with_reasons(some: Iterable[_Adapter], reasons: Mapping[str, str]) -> tuple[_Adapter, ...]:
    """Return LoRAs or embeddings with other reasons why they can't be used, by their names."""
    return tuple(one.model_copy(update={"reason": reasons.get(one.name)}) for one in some)


def models_of(metric: object) -> tuple[ModelEntry, ...] | None:
    """Return what a prediction's metric `models` says; None where it is none."""
    try:
        return _MODELS.validate_json(json.dumps(metric))
    except ValueError:
        return None


def adapters_of(metric: object) -> Adapters | None:
    """Return what a prediction's metric `adapters` says; None where it is none."""
    try:
        return Adapters.model_validate_json(json.dumps(metric))
    except ValueError:
        return None
