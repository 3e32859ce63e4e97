"""The start of a worker's engines, and what they share: the device, the checker, the upscalers."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from functools import partial

import torch

from stable_diffusion import (
    catalogue,
    lora_files,
    models,
    pixel_upscalers,
    textual_inversion,
)
from stable_diffusion.catalogue import SetupError, Weights
from stable_diffusion.engine import Engine
from stable_diffusion.engines import Served
from stable_diffusion.models import Model
from stable_diffusion.pixel_upscalers import PixelUpscaler
from stable_diffusion.previews import Previews
from stable_diffusion.residency import Residency
from stable_diffusion.rough_decoder import RoughDecoder
from stable_diffusion.safety import SafetyChecker

WEIGHTS_SHARE = 0.5
"""Share of a GPU's memory that the weights of several models may take, unless told otherwise."""


class Startup:
    """Starts an engine for each model that a worker serves.

    Args:
        first: the usual model, which is loaded before this is imported: nothing else loads as fast.
        dtype: of `models.DTYPES`; None takes what suits the device.
        rows, executor: as for `Engine`.
        is_shared: whether several models may come to share the device.
        with_previews: whether requests may have them, where the environment allows it.

    Raises:
        SetupError: when the environment asks for what there is not.
    """

    def __init__(
        self,
        first: Model,
        dtype: str | None,
        rows: int | None,
        executor: str | None,
        is_shared: bool,
        with_previews: bool,
    ) -> None:
        self._first: Model | None = first
        self._dtype = dtype
        self._rows = rows
        self._executor = executor
        self._with_previews = with_previews
        self._upscalers: Mapping[str, PixelUpscaler] = {}
        if first.weights.task != "upscale":
            self._upscalers = pixel_upscalers.installed(catalogue.upscalers(), first.device)
        self._checker = checker_beside(first)
        self._residency = Residency(first.device, weights_budget()) if is_shared else None

    def __call__(self, weights: Weights) -> Served:
        """Start an engine for a model, the usual one first.

        Raises:
            SetupError: when the model can't be loaded.
        """
        model, self._first = self._first or self._loaded(weights), None
        loras = catalogue.loras(partial(lora_files.check, pipeline=model.pipeline))
        embeddings = catalogue.embeddings(partial(textual_inversion.check, pipeline=model.pipeline))
        engine = Engine(
            model,
            self._rows,
            self._checker,
            self._executor,
            self._upscalers,
            loras,
            embeddings,
            previews_of(model, self._checker is not None) if self._with_previews else None,
            self._residency,
        )
        return Served(engine, loras, embeddings)

    def _loaded(self, weights: Weights) -> Model:
        if self._residency:
            self._residency.make_room(sum(path.stat().st_size for path in weights.files()))
        return models.load(weights, self._dtype)


def weights_budget() -> int | None:
    """Return the bytes of weights that may be on the device; None where they need not move.

    Raises:
        SetupError: when the environment gives no number for it.
    """
    setting = os.environ.get("WEIGHTS_GB")
    if setting:
        try:
            gigabytes = float(setting)
        except ValueError:
            gigabytes = math.nan
        if not 0 < gigabytes < math.inf:
            raise SetupError(f"WEIGHTS_GB is {setting!r}; give a number above 0, or leave it empty")
        return int(gigabytes * 1e9)
    if not torch.cuda.is_available():
        return None
    _, total = torch.cuda.mem_get_info()
    return int(WEIGHTS_SHARE * total)


def checker_beside(model: Model) -> SafetyChecker | None:
    """Return the NSFW checker; None if it is off or, as a line then says, not downloaded.

    Raises:
        SetupError: when it is not there and the environment insists on it.
    """
    setting = os.environ.get("SAFETY_CHECKER")
    gets = f"scripts/download-weights {catalogue.CHECKER}"
    if setting not in (None, "", "on", "off"):
        raise SetupError(f"SAFETY_CHECKER is {setting!r}; give on or off, or leave it empty")
    if setting == "off":
        return None
    checker = SafetyChecker.beside(model)
    if not checker and setting == "on":
        raise SetupError(f"SAFETY_CHECKER is on, but the checker is not downloaded; run: {gets}")
    if not checker:
        print(
            f"The NSFW checker is not downloaded, so no picture is checked; {gets} downloads it.",
            file=sys.stderr,
        )
    return checker


def previews_of(model: Model, is_checked: bool) -> Previews | None:
    """Return what makes previews of a model's pictures; None where they are off.

    Args:
        is_checked: whether pictures go through the NSFW checker, which sees no previews.
    """
    setting = os.environ.get("PREVIEWS")
    if setting not in (None, "", "on", "off"):
        raise SetupError(f"PREVIEWS is {setting!r}; give on or off, or leave it empty")
    if setting == "off" or (is_checked and setting != "on"):
        return None
    return Previews(RoughDecoder.of(model))
