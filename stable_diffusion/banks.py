"""Banks: the state of the running images, one slot per image and one bank per kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stable_diffusion.samplers import MEMORIES
from stable_diffusion.steps import FIRST_NOISE, MASK, PICTURE, Batch, state_of

PADDING = 0
"""The slot that no image has: the rows that pad a batch are read from it."""


@dataclass(frozen=True)
class Kind:
    """The properties that all images of a bank share.

    size: height and width of their latents.
    tokens: of their prompts.
    condition: channels that the UNet sees beside the latents.
    is_labelled: whether the UNet is given a label.
    is_tile: whether what is beyond an edge is what is at the opposite one.
    """

    size: tuple[int, int]
    tokens: int
    condition: int
    is_labelled: bool
    is_tile: bool = False


@dataclass(frozen=True)
class Newcomer:
    """An image before its first step; `values` is 4 × height × width of the latents.

    latents, noise: (values,), float32: what its first step begins with, and its first noise.
    mask, picture: (values,), float32: 1 where it is repainted, and the latents of the picture that
        is preserved elsewhere; None where nothing is preserved.
    texts: (1 or 2, tokens, features): of the prompt alone, or of the negative one before it.
    condition: (channels, height, width), float32, or None.
    label: int64, or None.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    mask: torch.Tensor | None
    picture: torch.Tensor | None
    texts: torch.Tensor
    condition: torch.Tensor | None
    label: torch.Tensor | None


@dataclass(frozen=True)
class Occupant:
    """An image of a bank that is to take a step.

    numbers: (NUMBERS,), float32, of this step; see `samplers.Table.numbers`.
    noise: (values,), float32, on the CPU; None where it takes none.
    is_guided: whether it has a row for the negative prompt too.
    adapter: the slot of its LoRAs; 0 for none.
    """

    slot: int
    numbers: torch.Tensor
    noise: torch.Tensor | None
    is_guided: bool
    adapter: int = 0


class Bank:
    """The tensors of all running images of one kind.

    Args:
        texts: of an image that will join: whose features, precision and device the bank has.
    """

    def __init__(self, kind: Kind, texts: torch.Tensor) -> None:
        self.kind = kind
        self.device = texts.device
        values = 4 * kind.size[0] * kind.size[1]

        def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(1, *shape, dtype=dtype, device=self.device)

        self._state = empty(1 + MEMORIES, values)
        self._fixed = empty(3, values)
        self._texts = empty(2, kind.tokens, texts.shape[-1], dtype=texts.dtype)
        self._condition = empty(kind.condition, *kind.size) if kind.condition else None
        self._labels = empty(dtype=torch.int64) if kind.is_labelled else None
        self._free: list[int] = []
        self.taken: set[int] = set()
        self._no_noise = torch.zeros(1, values, device=self.device)

    def join(self, image: Newcomer) -> int:
        """Write an image into a free slot and return the slot."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self.taken.add(slot)
        if self.device.type == "cuda":  # what another stream has made must not be reused too early
            tensors = (image.latents, image.noise, image.mask, image.picture, image.texts)
            for tensor in (*tensors, image.condition, image.label):
                if tensor is not None:
                    tensor.record_stream(torch.cuda.current_stream())
        self._state[slot, 0], self._state[slot, 1:] = image.latents, 0
        fixed = self._fixed[slot]
        fixed[MASK], fixed[FIRST_NOISE] = 1, image.noise
        if image.mask is not None and image.picture is not None:
            fixed[MASK], fixed[PICTURE] = image.mask, image.picture
        self._texts[slot, 2 - len(image.texts) :] = image.texts
        if self._condition is not None and image.condition is not None:
            self._condition[slot] = image.condition
        if self._labels is not None and image.label is not None:
            self._labels[slot] = image.label
        return slot

    def leave(self, slot: int) -> None:
        """Free a slot."""
        self.taken.remove(slot)
        self._free.append(slot)

    def latents(self, slot: int) -> torch.Tensor:
        """Return a copy of an image's current latents, (1, 4, height, width), float32."""
        return self._state[slot, 0].view(1, 4, *self.kind.size).clone()

    def put_latents(self, slot: int, latents: torch.Tensor) -> None:
        """Replace an image's latents, for samplers that take their steps themselves."""
        self._state[slot, 0] = latents.flatten()

    def gather(self, occupants: Sequence[Occupant], rows: int | None = None) -> Batch:
        """Return the batch for the next step of some images.

        Nothing is waited for: what the device gets is copied beside what it does.

        Args:
            rows: fill up to so many rows, and to as many images, with nobody's slot.
        """
        image_of_row: list[int] = []
        text_of_row: list[int] = []
        adapters: list[int] = []
        unconditional, conditional = [], []
        for index, occupant in enumerate(occupants):
            unconditional.append(len(image_of_row))
            for text in (0, 1) if occupant.is_guided else (1,):
                image_of_row.append(index)
                text_of_row.append(2 * occupant.slot + text)
                adapters.append(occupant.adapter)
            conditional.append(len(image_of_row) - 1)
        slots = [occupant.slot for occupant in occupants]
        numbers = [occupant.numbers for occupant in occupants]
        if rows is not None:
            padding = rows - len(slots)
            slots += [PADDING] * padding
            numbers += [torch.zeros_like(numbers[0])] * padding
            unconditional += [0] * padding
            conditional += [0] * padding
            lacking = rows - len(image_of_row)
            image_of_row += [len(occupants)] * lacking
            text_of_row += [PADDING] * lacking
            adapters += [0] * lacking
        if not any(adapters):
            adapters = []
        lists = [slots, unconditional, conditional, image_of_row, text_of_row, adapters]
        places = self._sent(torch.tensor([place for each in lists for place in each]))
        chosen, of_unconditional, of_conditional, row_images, row_texts, row_adapters = torch.split(
            places, [len(each) for each in lists]
        )
        return Batch(
            numbers=self._sent(torch.stack(numbers)),
            state=self._state[chosen],
            fixed=self._fixed[chosen],
            noise=self._noise(occupants, len(slots)),
            texts=self._texts.flatten(0, 1)[row_texts],
            condition=None if self._condition is None else self._condition[chosen],
            labels=None if self._labels is None else self._labels[chosen],
            image_of_row=row_images,
            unconditional=of_unconditional,
            conditional=of_conditional,
            adapters=row_adapters if adapters else None,
            size=self.kind.size,
        )

    def scatter(self, occupants: Sequence[Occupant], after: torch.Tensor) -> None:
        """Write the result of `steps.take` into the slots; drop its padding."""
        slots = self._sent(torch.tensor([occupant.slot for occupant in occupants]))
        self._state.index_copy_(0, slots, state_of(after)[: len(occupants)])

    def _noise(self, occupants: Sequence[Occupant], images: int) -> torch.Tensor:
        if all(occupant.noise is None for occupant in occupants):
            return self._no_noise.expand(images, -1)
        none = torch.zeros(self._no_noise.shape[1])
        drawn = [none if occupant.noise is None else occupant.noise for occupant in occupants]
        return self._sent(torch.stack([*drawn, *[none] * (images - len(drawn))]))

    def _sent(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a CPU tensor to the bank's device, without waiting for what runs there."""
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _grow(self) -> None:
        """Double the number of slots; the first time, add one beside the padding's."""
        before = len(self._state)
        for name in ("_state", "_fixed", "_texts", "_condition", "_labels"):
            tensor = getattr(self, name)
            if tensor is not None:
                setattr(self, name, torch.cat([tensor, torch.zeros_like(tensor)]))
        self._free += range(2 * before - 1, before - 1, -1)
