"""Whole steps replayed from CUDA graphs, so that a GPU doesn't wait for Python.

A graph is used only where its first steps are finite and equal to the plain ones within the
precision: in a trial, attention by cuDNN is thought to have made the first captured step at 256 px
not finite. So that backend is never among those that are tried.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend

from stable_diffusion.executors.cuda_graphs import GraphRecorder
from train_demo.progress import Log
from train_demo.sampling import Batch, Sampler
from train_demo.state import State
from train_demo.whole_step import PLAIN_ATTENTION, WholeStep

ATTENTIONS: dict[str, tuple[SDPBackend, ...]] = {
    # Flash takes no mask, which the text encoder may have.
    "flash attention": (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION),
    "memory-efficient attention": (SDPBackend.EFFICIENT_ATTENTION,),
    "plain attention": PLAIN_ATTENTION,
}
TRIAL_STEPS = 5
"""Steps that are compared: a new UNet's attention has no gradient before the third."""
TOLERANCE = 0.05
"""Largest distance of a loss, or of a gradient's norm, from the plain one's, as a share of it."""
LARGEST_STRAY = 0.5
"""Largest distance of the weights from where plain steps lead, as a share of the way there.

AdamW's first steps move each weight by its gradient's sign, which for small ones is rounding.
"""


class Captured:
    """A whole step for batches of one size, replayed from a graph."""

    def __init__(
        self,
        step: WholeStep,
        batch: Batch,
        attention: Sequence[SDPBackend],
        recorder: GraphRecorder,
    ) -> None:
        self._inputs = batch.clone()
        self._output, self._replay = recorder.record(lambda: step(self._inputs, attention))

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Take a step; return its loss and the norm of the gradient, (2,)."""
        self._inputs.copy_(batch)
        self._replay()
        return self._output.clone()


def capture_all(
    step: WholeStep,
    state: State,
    sampler: Sampler,
    recorder: GraphRecorder,
    marker: Path,
    log: Log,
) -> dict[int, Captured]:
    """Return a captured step by the size of its pictures, where one is good; change no state.

    Args:
        marker: a file that is there while steps are captured. Where a process left it behind,
            since a capture can end one, none are captured this time.
    """
    if marker.exists():
        marker.unlink()
        log("steps are plain this time: the last process ended while it captured them")
        return {}
    marker.touch()
    settings = sampler.settings
    captured = {
        size: capture(
            step, state, partial(sampler.batch, size), recorder, settings.rate, f"{size} px", log
        )
        for size in settings.batch
    }
    marker.unlink()
    return {size: each for size, each in captured.items() if each}


def capture(
    step: WholeStep,
    state: State,
    draw: Callable[[], Batch],
    recorder: GraphRecorder,
    rate: float,
    title: str,
    log: Log,
) -> Captured | None:
    """Capture a step with the first attention with which it is as the plain one.

    Args:
        step: the plain one.
        state: what it changes, which is afterwards as before, but for the rate.
        draw: draws a batch of the size that is captured.
        rate: of the steps that are compared.
        title: of the size, for the log.

    Returns:
        None where no graph is good.
    """
    trial = _Trial(step, state, [draw() for _ in range(TRIAL_STEPS)], rate)
    for name, attention in ATTENTIONS.items():
        try:
            # What is set later must reach the graph: at a rate of 0 it would lead nowhere.
            trial.set(rate=0, renewed=0)
            captured = Captured(step, trial.batches[0], attention, recorder)
            fault = trial.fault(captured)
        except RuntimeError as error:  # a card, or a torch, that can't
            fault = " ".join(str(error).split())[:200]
        finally:
            state.restore(trial.before)
        if not fault:
            log(f"{title}: steps are replayed from a graph, with {name}")
            return captured
        log(f"{title}: no graph with {name}: {fault}")
    return None


class _Trial:
    """A few plain steps, and the same ones by a graph."""

    def __init__(
        self, step: WholeStep, state: State, batches: Sequence[Batch], rate: float
    ) -> None:
        self.step, self.state, self.batches, self.rate = step, state, batches, rate
        self.before, self.begin = state.copy(), self._places()
        self.numbers, self.goal = self._run(step)

    def set(self, rate: float, renewed: float) -> None:
        """Set the learning rate, and the share of the average that a step renews."""
        self.state.set_rate(rate)
        self.step.renewed.fill_(renewed)

    def fault(self, take: Callable[[Batch], torch.Tensor]) -> str:
        """Return what is wrong with steps that `take` takes, "" where nothing is."""
        numbers, reached = self._run(take)
        if not bool(numbers.isfinite().all()):
            return f"its losses and norms are not finite: {numbers.tolist()}"
        if bool(((numbers - self.numbers).abs() > TOLERANCE * self.numbers.abs()).any()):
            return (
                f"its losses and norms {numbers.tolist()} are not those of plain steps, "
                f"{self.numbers.tolist()}"
            )
        for begin, goal, place in zip(self.begin, self.goal, reached, strict=True):
            stray, way = float((place - goal).norm()), float((goal - begin).norm())
            if not stray <= LARGEST_STRAY * way:
                return f"it leads the weights {stray:.3g} astray on a way of {way:.3g}"
        return ""

    def _run(
        self, take: Callable[[Batch], torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Return losses and norms, (steps, 2), and where the steps led."""
        self.state.restore(self.before)
        self.set(self.rate, renewed=0.5)
        numbers = torch.stack([take(batch) for batch in self.batches])
        return numbers, self._places()

    def _places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all weights, and all averages, as a vector each."""
        weights, averages = (
            torch.cat([each.detach().flatten() for each in parameters])
            for parameters in (self.step.weights, self.step.averages)
        )
        return weights, averages
