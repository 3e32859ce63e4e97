"""The limits of a token: what it may ask for at all, and how much in a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hosting.published_models import Model, Version
from hosting.settings import Settings

ANY = "any"
"""What a list of names has that is no limit."""


@dataclass(frozen=True)
class TokenLimits:
    """What a token may ask for. None is no limit."""

    side: int | None = None
    """Pixels of a side of what is drawn."""
    steps: int | None = None
    """Of `num_inference_steps`, and of `refine_steps`."""
    images: int | None = None
    """Of a prediction."""
    models: frozenset[str] | None = None
    """The names of weights, or published names, in lower case."""
    loras: frozenset[str] | None = None
    predictions_a_day: int | None = None
    megapixel_steps_a_day: float | None = None
    """Of the predictions of 24 hours: millions of pixels × steps × images."""

    @classmethod
    def of(cls, name: str, own: Mapping[str, Any], settings: Settings) -> TokenLimits:
        """Return the limits of a token: its own, and those of the settings for the rest.

        Args:
            name: the token's.
            own: by the names of the fields; 0 and `any` are no limit. See `Token.limits`.
        """
        usual = {
            "side": settings.token_side,
            "steps": settings.token_steps,
            "images": settings.token_images,
            "models": settings.token_models or [ANY],
            "loras": settings.loras_of(name),
            "predictions_a_day": settings.token_predictions_a_day,
            "megapixel_steps_a_day": settings.token_megapixel_steps_a_day,
        }
        return cls(**{field: _read(value) for field, value in {**usual, **own}.items()})

    @property
    def most(self) -> dict[str, int]:
        """What it may have of some inputs, by our names."""
        sides = dict.fromkeys(("width", "height"), self.side)
        steps = dict.fromkeys(("num_inference_steps", "refine_steps"), self.steps)
        numbers = {**sides, **steps, "num_images": self.images}
        return {name: limit for name, limit in numbers.items() if limit is not None}

    def limited(self, version: Version) -> Version:
        """Return a version as a token of these limits may have it."""
        return version.for_loras(self.loras).within(self.most)

    def allow(self, model: Model, weights: str | None) -> bool:
        """Return whether a model may be asked for.

        Args:
            weights: the name of what serves it.
        """
        if self.models is None:
            return True
        names = {model.id, model.name, *model.aliases, weights or ""}
        return not self.models.isdisjoint(name.lower() for name in names)


def _read(value: Any) -> Any:
    """Return the limit that a setting, or a token's row, means."""
    if isinstance(value, list | tuple):
        return None if ANY in value else frozenset(value)
    return value or None if isinstance(value, int | float) else value


NO_LIMITS = TokenLimits()
"""The limits of who has none."""
