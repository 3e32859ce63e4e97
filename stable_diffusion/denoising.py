"""The denoising of one image: its sampler, and its slot in a bank."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from stable_diffusion.adapters import NONE
from stable_diffusion.banks import Bank, Kind, Newcomer, Occupant
from stable_diffusion.loras import Place
from stable_diffusion.samplers import Table, untouched
from stable_diffusion.schedulers import Schedule

NOISES_AHEAD = 4
"""Calls whose noise is drawn in advance, while the device is busy."""


class Sampler(Protocol):
    """The sampler of one image, which takes its steps, each in a turn of its bank."""

    @property
    def steps(self) -> int:
        """The number of UNet calls that it takes."""

    def first_latents(self) -> torch.Tensor:
        """Return the latents that the first step starts from, (1, 4, h, w), float32."""

    def numbers(self, step: int) -> torch.Tensor:
        """Return a step's numbers, (NUMBERS,), float32 (see `samplers.Table.numbers`)."""

    def noise(self, step: int) -> torch.Tensor | None:
        """Return a step's fresh noise, (values,), float32, on the CPU; None if it takes none."""

    def after(self, step: int, bank: Bank, slot: int) -> None:
        """Complete a step after the bank has taken it."""


@dataclass(frozen=True)
class Start:
    """The tensors and the generator that an image starts with.

    noise: (1, 4, h, w), float32: its own.
    origin: in that shape: the latents that the first step starts from; None for noise alone.
    picture: in that shape: the latents that its steps blend in; None for none.
    mask: (1, 1, h, w), float32: 1 where it is repainted and else 0; None where all is.
    generator: gives the noise of its steps, in their order.
    draw: returns the next of it, in that shape, on the CPU.
    """

    noise: torch.Tensor
    origin: torch.Tensor | None
    picture: torch.Tensor | None
    mask: torch.Tensor | None
    generator: torch.Generator
    draw: Callable[[], torch.Tensor]


class TableSampler:
    """A sampler whose steps are a table: the bank takes them without further work."""

    def __init__(self, table: Table, start: Start, guidance_scale: float) -> None:
        self._table, self._start = table, start
        self._numbers = table.numbers(guidance_scale)
        self._noises: deque[torch.Tensor | None] = deque()
        self._drawn = 0

    @property
    def steps(self) -> int:
        """The number of UNet calls that it takes."""
        return len(self._numbers)

    def first_latents(self) -> torch.Tensor:
        """Return noise, or the picture with as much as the table says: (1, 4, h, w), float32."""
        return self._table.start(self._start.origin, self._start.noise)

    def numbers(self, step: int) -> torch.Tensor:
        """Return a step's numbers, (NUMBERS,), float32."""
        return self._numbers[step]

    def noise(self, step: int) -> torch.Tensor | None:
        """Return a step's noise, (values,), float32, if it takes any; all is drawn in order."""
        while len(self._noises) > self._drawn - step:
            self._noises.popleft()
        while self._drawn < min(step + NOISES_AHEAD, self.steps):
            self._noises.append(
                self._start.draw().flatten() if self._table.draws[self._drawn] else None
            )
            self._drawn += 1
        return self._noises[0]

    def after(self, step: int, bank: Bank, slot: int) -> None:
        """Do nothing: the bank has taken the whole step."""


class LibrarySampler:
    """A sampler without a table: diffusers takes its steps, from outputs that the bank gives."""

    def __init__(self, schedule: Schedule, start: Start, guidance_scale: float) -> None:
        self._schedule, self._start, self._guidance_scale = schedule, start, guidance_scale
        if start.origin is None:
            self._latents = start.noise * float(schedule.scheduler.init_noise_sigma)
        else:
            self._latents = schedule.add_noise(0, start.origin, start.noise)

    @property
    def steps(self) -> int:
        """The number of UNet calls that it takes."""
        return len(self._schedule.timesteps)

    def first_latents(self) -> torch.Tensor:
        """Return the latents that the first step starts from, (1, 4, h, w), float32."""
        return self._latents

    def numbers(self, step: int) -> torch.Tensor:
        """Return the numbers, (NUMBERS,), float32, by which the bank gives the guided output."""
        return untouched(self._schedule, step, self._guidance_scale)

    def noise(self, step: int) -> torch.Tensor | None:
        """Return None: diffusers draws the noise itself."""

    def after(self, step: int, bank: Bank, slot: int) -> None:
        """Take diffusers' step, blend in what is preserved, and put the latents into the slot."""
        start, output = self._start, bank.latents(slot)
        latents = self._schedule.step(step, output, self._latents, start.generator)
        if start.mask is not None and start.picture is not None:
            preserved = start.picture
            if step + 1 < self.steps:
                preserved = self._schedule.add_noise(step + 1, preserved, start.noise)
            latents = torch.where(start.mask > 0, latents, preserved)
        self._latents = latents
        bank.put_latents(slot, latents)


@dataclass(eq=False)
class Denoising:
    """One image between its first noise and its last step.

    kind: of its bank.
    newcomer: what it brings there; None afterwards.
    latents: (1, 4, h, w), float32: the finished ones, when it has left its bank.
    place: of its LoRAs; None without any.
    """

    kind: Kind
    is_guided: bool
    sampler: Sampler
    newcomer: Newcomer | None
    step: int = 0
    latents: torch.Tensor | None = None
    bank: Bank | None = None
    slot: int = 0
    place: Place | None = None

    @property
    def is_done(self) -> bool:
        """Whether all steps are taken."""
        return self.step == self.sampler.steps

    @property
    def pixels(self) -> int:
        """The latent pixels of all its rows in a UNet call."""
        return (1 + self.is_guided) * self.kind.size[0] * self.kind.size[1]

    @property
    def is_adapted(self) -> bool:
        """Whether its rows have LoRAs."""
        return self.place is not None

    def join(self, bank: Bank) -> None:
        """Take a slot in a bank of its kind."""
        assert self.newcomer
        self.bank, self.slot, self.newcomer = bank, bank.join(self.newcomer), None

    def leave(self) -> None:
        """Free the slot and keep the latents."""
        if self.bank:
            self.latents = self.bank.latents(self.slot)
            self.bank.leave(self.slot)
            self.bank = None

    def occupant(self) -> Occupant:
        """Return the occupant that its bank needs for the next step."""
        numbers, noise = self.sampler.numbers(self.step), self.sampler.noise(self.step)
        adapter = self.place.slot if self.place else NONE
        return Occupant(self.slot, numbers, noise, self.is_guided, adapter)

    def advance(self) -> None:
        """Complete and count the step that the bank has taken."""
        assert self.bank
        self.sampler.after(self.step, self.bank, self.slot)
        self.step += 1
