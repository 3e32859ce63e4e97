"""Steps with UNet and VAE compiled by OpenVINO, on a CPU; until then the plain way serves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import torch

from stable_diffusion.banks import Bank, Occupant
from stable_diffusion.executors import proof
from stable_diffusion.executors.openvino_parts import OpenVinoParts
from stable_diffusion.executors.plain import PlainExecutor
from stable_diffusion.models import Model

SLOWEST_SHARE = 1.05
"""Largest ratio of a compiled part's time to torch's, to serve: the VAE is not always faster."""
TRIAL_SIDE = 32
"""Largest side of the latents on which OpenVINO is compared with torch.

On a CPU a step of larger ones takes seconds, in which no other request is served.
"""


class OpenVinoExecutor(PlainExecutor):
    """An executor that calls UNet and VAE as compiled by OpenVINO, where that can serve.

    Its compiled UNet has the weights in it: images with adapters have plain calls of their own.

    Args:
        wake: called when they are compiled, from a thread that then ends.
    """

    mixes_adapters = False

    def __init__(self, model: Model, parts: OpenVinoParts, wake: Callable[[], None]) -> None:
        super().__init__(model)
        self._parts = parts
        self._wake = wake
        self._is_warming = True
        self._is_compiled = False
        self._serving: set[str] = set()
        self._torch_threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._prepare, name="openvino", daemon=True)
        self._thread.start()

    @property
    def is_warming(self) -> bool:
        """Whether the model is being compiled, or waits for its proof."""
        return self._is_warming

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do."""
        return self._is_compiled

    def work(self) -> None:
        """Compare the compiled parts with torch's own, and serve with them from now on."""
        self._is_compiled = False
        try:
            self._prove()
        except (ArithmeticError, RuntimeError) as error:
            self._serving.clear()
            proof.left_out("OpenVINO is", error)
        self._is_warming = False

    def step(
        self, bank: Bank, occupants: list[Occupant], most_rows: int, calls_ahead: int
    ) -> torch.Tensor:
        """Take one step, with torch's part of it in a single thread.

        Its helpers would still spin when OpenVINO's threads want the cores: a default prediction
        of the demo model took 0.40 s with them, and 0.36 s without.
        """
        if "unet" not in self._serving or any(occupant.adapter for occupant in occupants):
            return super().step(bank, occupants, most_rows, calls_ahead)
        torch.set_num_threads(1)
        try:
            return super().step(bank, occupants, most_rows, calls_ahead)
        finally:
            torch.set_num_threads(self._torch_threads)

    def unet(
        self,
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        texts: torch.Tensor,
        labels: torch.Tensor | None,
        adapters: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Call the UNet (see `steps.Unet`)."""
        if "unet" in self._serving and adapters is None:
            output = self._parts.unet(sample, timesteps, texts, labels)
            if output is not None:
                return output
            torch.set_num_threads(self._torch_threads)
        return super().unet(sample, timesteps, texts, labels, adapters)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the posterior's mean, (n, 4, h, w), of (n, 3, height, width) pixels."""
        mean = self._parts.encode(pixels) if "encode" in self._serving else None
        return super().encode(pixels) if mean is None else mean

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return (n, 3, height, width) pixels, from -1 to 1, of (n, 4, h, w) latents."""
        pixels = self._parts.decode(latents) if "decode" in self._serving else None
        return super().decode(latents) if pixels is None else pixels

    def close(self) -> None:
        """Wait for the thread that compiles: a process that ends under it is aborted."""
        self._thread.join()

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
        for name, call in proof.trial_calls(self, TRIAL_SIDE).items():
            torchs_seconds, expected = _timed(call)
            self._serving.add(name)
            if not proof.is_close(call(), expected, self.model.dtype):
                raise ArithmeticError("it gave other numbers than torch")
            seconds, _ = _timed(call)  # the second call of a shape: the first is slower
            if seconds > SLOWEST_SHARE * torchs_seconds:
                self._serving.remove(name)


def _timed(call: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """Return the seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result
