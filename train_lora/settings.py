"""The settings of a LoRA's training, and what is trained of a UNet."""

from __future__ import annotations

from dataclasses import dataclass

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
"""The ends of the names of the layers that get a difference."""


@dataclass(frozen=True)
class Settings:
    """The settings of a LoRA's training.

    alpha: what the difference is multiplied with, times `rank`.
    rate: of AdamW at the first step; it falls to 0 along a cosine.
    batch: pictures in a step.
    resolution: side in pixels of the square that pictures are cropped and scaled to.
    seed: of the first weights, the order, and the noise.
    feed_forward: whether layers between those of attention are trained too.
    captions_dropped: share of the pictures that are shown without their caption, so that what
        guidance compares with is learned too.
    """

    resolution: int
    rank: int = 16
    alpha: float = 16
    steps: int = 1500
    rate: float = 1e-4
    batch: int = 1
    seed: int = 0
    feed_forward: bool = False
    captions_dropped: float = 0.1

    @property
    def targets(self) -> list[str]:
        """The ends of the names of the layers that are trained."""
        return [*ATTENTION, *(FEED_FORWARD if self.feed_forward else ())]
