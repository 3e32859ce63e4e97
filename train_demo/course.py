"""The course of a stage of training: its steps, its checkpoints, and its way back."""

import math
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import torch

from train_demo.progress import Clock, Log, TrainingError, write
from train_demo.state import State
from train_demo.stopping import Stop

STEPS_BETWEEN_COPIES = 100
MOST_FAULTS = 3


class Course:
    """What a stage of training follows from step to step.

    A step whose loss or gradient is not finite leads back to the last good state, at half the
    rate. A signal to stop ends it after the step, with a checkpoint.

    Attributes:
        step: the steps taken so far.
        rate_share: the share of the learning rate that is left by faults.
        faults: what the faulty steps were of, oldest first.

    Args:
        state: what is trained; loaded from `file` where that exists.
        file: its checkpoint.
        clock: its minutes.
        steps_between_logs: and the log has the mean loss of these.
    """

    def __init__(
        self, state: State, file: Path, clock: Clock, steps_between_logs: int, log: Log, stop: Stop
    ) -> None:
        self.state, self.file, self.clock = state, file, clock
        self.log, self.stop, self.steps_between_logs = log, stop, steps_between_logs
        self.step, self.rate_share = 0, 1.0
        self.faults: list[str] = []
        if file.exists():
            device = state.tensors()[0].device
            saved = torch.load(file, map_location=device, weights_only=True)
            state.load(saved["state"])
            self.step, self.rate_share = saved["step"], saved["rate_share"]
            clock.minutes = saved["minutes"]
            log(f"{file.stem}: goes on from step {self.step}, minute {clock.minutes:.1f}")
        self._start_report()
        self._keep()

    def goes_on(self) -> bool:
        """Begin a step; return False where all minutes are spent."""
        self.clock.begin()
        self.stop.is_awaited = not self.clock.over
        return self.stop.is_awaited

    def took(self, what: str, pictures: int, loss_and_norm: torch.Tensor) -> None:
        """End a step.

        Args:
            what: of a fault and in the log: "128 px".
            pictures: that it learned from.
            loss_and_norm: the loss and the norm of its gradient, (2,).

        Raises:
            TrainingError: it is the last fault that is borne.
            Stopped: a signal has come.
        """
        loss, norm = loss_and_norm.tolist()
        self.step += 1
        self.clock.end()
        self.stop.is_awaited = False
        is_good = math.isfinite(loss) and math.isfinite(norm)
        is_copied = is_good and self.step % STEPS_BETWEEN_COPIES == 0
        if not is_good or (is_copied and not self.state.is_finite()):
            self._go_back(what)
        else:
            self._losses[what].append(loss)
            self._pictures += pictures
            if is_copied:
                self._keep()
        if self.stop.number:
            self.save()
        if self.step % self.steps_between_logs == 0:
            self._report()

    def save(self) -> None:
        """Write the checkpoint, of the last good state where the present one is not finite.

        Raises:
            Stopped: a signal has come, before it or meanwhile.
        """
        with self.stop.after():
            if not self.state.is_finite():
                self._go_back("checkpoint")
            self._write()
            self.log(f"{self.file.stem}: saved step {self.step}, minute {self.clock.minutes:.1f}")

    def _write(self) -> None:
        state = {
            "state": self.state.to_save(),
            "step": self.step,
            "minutes": self.clock.minutes,
            "rate_share": self.rate_share,
        }
        write(self.file, lambda path: torch.save(state, path))

    def _keep(self) -> None:
        self._kept_step, self._kept = self.step, self.state.copy()

    def _go_back(self, what: str) -> None:
        """Go back to the last good state, at half the rate.

        Raises:
            TrainingError: it happened MOST_FAULTS times; the checkpoint has the good state.
        """
        self.faults.append(what)
        faulty, self.step = self.step, self._kept_step
        self.state.restore(self._kept)
        self.rate_share /= 2
        self._start_report()
        fault = f"{self.file.stem}: step {faulty} ({what}) is not finite"
        if len(self.faults) == MOST_FAULTS:
            self._write()
            raise TrainingError(
                f"{fault}, the last of {MOST_FAULTS} times: stopped. The last good state, step "
                f"{self.step}, is in {self.file}; the same command goes on from it, at "
                f"{self.rate_share:g} of the rate"
            )
        self.log(f"{fault}: back to step {self.step}, at {self.rate_share:g} of the rate")

    def _start_report(self) -> None:
        self._losses: defaultdict[str, list[float]] = defaultdict(list)
        self._pictures, self._since = 0, time.monotonic()

    def _report(self) -> None:
        means = ", ".join(f"{what} {fmean(each):.4f}" for what, each in self._losses.items())
        a_second = self._pictures / (time.monotonic() - self._since)
        self.log(
            f"{self.file.stem}: minute {self.clock.minutes:.1f} step {self.step} loss {means}; "
            f"{a_second:.0f} pictures a second"
        )
        self._start_report()
