"""The policy: rules for what runs next, without tensors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from enum import Enum, auto
from typing import Protocol, TypeVar

TURNS_BEFORE_GROWTH = 100
"""Turns after which a larger room is tried again where memory was short."""


class Member(Protocol):
    """An image that is to take a step.

    kind: of its tensors; images of one kind can share a call of the UNet.
    pixels: latent pixels that all of its rows take in a call.
    is_adapted: whether its rows have an adapter.
    """

    @property
    def kind(self) -> Hashable: ...  # noqa: D102

    @property
    def pixels(self) -> int: ...  # noqa: D102

    @property
    def is_adapted(self) -> bool: ...  # noqa: D102


Image = TypeVar("Image", bound=Member)


def divide(
    images: Iterable[Image], room: int, mixes_adapters: bool = True
) -> Iterator[list[Image]]:
    """Yield batches of images of one kind, the oldest first.

    Args:
        images: the oldest first.
        room: latent pixels in a batch at the most; one image always has room.
        mixes_adapters: whether a batch may have images with adapters and without.
    """
    kinds = defaultdict[Hashable, list[Image]](list)
    for image in images:
        kinds[image.kind, image.is_adapted and not mixes_adapters].append(image)
    for members in kinds.values():
        batch: list[Image] = []
        pixels = 0
        for image in members:
            pixels += image.pixels
            if batch and pixels > room:
                yield batch
                batch, pixels = [], image.pixels
            batch.append(image)
        yield batch


class Room:
    """The latent pixels that a UNet call may have; fewer for some turns after memory was short.

    Args:
        most: what the device has memory for.
    """

    def __init__(self, most: int) -> None:
        self.now = self._most = most
        self._turns = 0

    def shrink(self, tried: int) -> None:
        """Set the room to half of what has just been tried and was too large."""
        self.now, self._turns = tried // 2, 0

    def turn(self) -> None:
        """Count a turn; after some, try a larger room, since memory may be free again."""
        self._turns += 1
        if self._turns > TURNS_BEFORE_GROWTH:
            self.now, self._turns = min(2 * self.now, self._most), 0


class Between(Enum):
    """The work that is done between two steps."""

    DECODE = auto()
    ENCODE = auto()


def between_steps(finished: bool, submitted: bool, last: Between | None) -> Between | None:
    """Choose the work before the next step, where encoding and decoding share the steps' device.

    It is one picture to decode, or what one request has to encode, and no more: the steps of
    others hardly wait. Who leaves and who joins take turns.

    Args:
        finished: whether a request has a picture to decode.
        submitted: whether a request has something to encode.
        last: what was done before the last step.
    """
    if finished and not (submitted and last is Between.DECODE):
        return Between.DECODE
    return Between.ENCODE if submitted else None
