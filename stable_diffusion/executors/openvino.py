"""Steps whose UNet OpenVINO has compiled, on a CPU; the plain way serves until it is ready."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from stable_diffusion import steps
from stable_diffusion.executors import proof
from stable_diffusion.executors.openvino_parts import OpenVinoParts
from stable_diffusion.executors.plain import PlainExecutor
from stable_diffusion.models import Model

TRIAL_SIDE = 32
"""Of the latents that OpenVINO is compared with torch on, where the native ones are larger: on a
CPU a step of these takes seconds, in which nobody else is served."""


class OpenVinoExecutor(PlainExecutor):
    """Calls UNet and VAE as OpenVINO has compiled them, for what it is made for.

    Args:
        wake: called when they are compiled, from a thread that then ends.
    """

    name = "openvino"

    def __init__(self, model: Model, parts: OpenVinoParts, wake: Callable[[], None]) -> None:
        super().__init__(model)
        self._parts = parts
        self._wake = wake
        self._is_warming = True
        self._is_compiled = self._serves = False
        self._thread = threading.Thread(target=self._prepare, name="openvino", daemon=True)
        self._thread.start()

    @property
    def is_warming(self) -> bool:
        """Whether it is being compiled, or waits for its proof."""
        return self._is_warming

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do."""
        return self._is_compiled

    def work(self) -> None:
        """Compare what is compiled with torch's own, and serve with it from now on."""
        self._is_compiled = False
        try:
            self._prove()
        except (ArithmeticError, RuntimeError) as error:
            self._serves = False
            proof.left_out("OpenVINO is", error)
        self._is_warming = False

    def unet(
        self,
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        texts: torch.Tensor,
        labels: torch.Tensor | None,
    ) -> torch.Tensor:
        """Call the UNet (see `steps.Unet`)."""
        output = self._parts.unet(sample, timesteps, texts, labels) if self._serves else None
        return super().unet(sample, timesteps, texts, labels) if output is None else output

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the posterior's mean, (n, 4, h, w), of (n, 3, height, width) pixels."""
        mean = self._parts.encode(pixels) if self._serves else None
        return super().encode(pixels) if mean is None else mean

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return (n, 3, height, width) pixels, from -1 to 1, of (n, 4, h, w) latents."""
        pixels = self._parts.decode(latents) if self._serves else None
        return super().decode(latents) if pixels is None else pixels

    def _prepare(self) -> None:
        try:
            self._parts.prepare()
        except (ImportError, MemoryError, OSError, RuntimeError) as error:
            proof.left_out("OpenVINO is", error)
            self._is_warming = False
        else:
            self._is_compiled = True
        self._wake()

    def _prove(self) -> None:
        bank, occupants = proof.trial(self.model, largest_side=TRIAL_SIDE)
        batch = bank.gather(occupants)
        latents, pixels = proof.trial_pictures(self.model, largest_side=TRIAL_SIDE)
        calls: list[Callable[[], torch.Tensor]] = [
            lambda: steps.take(self.unet, batch),
            lambda: self.decode(latents),
            lambda: self.encode(pixels),
        ]
        expected = [call() for call in calls]
        self._serves = True
        for call, tensor in zip(calls, expected, strict=True):
            if not proof.is_close(call(), tensor, self.model.dtype):
                raise ArithmeticError("it gave other numbers than torch")
