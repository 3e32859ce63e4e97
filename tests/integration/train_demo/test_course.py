from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from train_demo.course import MOST_FAULTS, STEPS_BETWEEN_COPIES, Course
from train_demo.progress import Clock, Log, TrainingError
from train_demo.state import State, adamw
from train_demo.stopping import Stop, Stopped

NAN, INFINITE = float("nan"), float("inf")


class Training:
    """The least that follows a course: a linear layer that learns to give nothing."""

    def __init__(self, folder: Path, steps: int = 1000) -> None:
        torch.manual_seed(0)
        self.net = nn.Linear(4, 4)
        self.state = State({"net": self.net}, adamw(self.net.parameters(), (0.9, 0.99), 0.01))
        self.stop, self.log = Stop(), Log(folder / "log.txt")
        clock = Clock(steps, of_a_step=1)
        self.course = Course(self.state, folder / "net.pt", clock, 10, self.log, self.stop)

    def step(self, spoiled_by: float = 0, norm: float | None = None) -> None:
        assert self.course.goes_on()
        self.state.set_rate(0.01 * self.course.rate_share)
        loss = self.net(torch.full((1, 4), 1.0 + spoiled_by)).square().mean()
        self.state.optimizer.zero_grad()
        loss.backward()
        found = nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.state.optimizer.step()
        loss_and_norm = torch.stack([loss.detach(), found])
        if norm is not None:
            loss_and_norm[1] = norm
        self.course.took("net", 1, loss_and_norm)

    def weights(self) -> torch.Tensor:
        return self.net.weight.detach().clone()


@pytest.fixture(autouse=True)
def _inference() -> None:
    """Here something is trained."""


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


@pytest.mark.parametrize("number", [NAN, INFINITE])
def test_a_loss_that_is_not_finite_leads_back_to_the_last_good_state(
    training: Training, number: float
) -> None:
    for _ in range(STEPS_BETWEEN_COPIES):
        training.step()
    good = [each.clone() for each in training.state.tensors()]
    for _ in range(3):
        training.step()
    training.step(spoiled_by=number)
    assert all(map(torch.equal, training.state.tensors(), good))
    assert training.course.step == STEPS_BETWEEN_COPIES
    assert training.course.rate_share == 0.5
    assert training.course.faults == ["net"]
    spoiled = STEPS_BETWEEN_COPIES + 4
    back = f"step {spoiled} (net) is not finite: back to step 100, at 0.5 of the rate"
    assert back in training.log.path.read_text()
    training.step()
    assert not torch.equal(training.weights(), good[0]), "it goes on"


def test_a_gradient_that_is_not_finite_leads_back_too(training: Training) -> None:
    begin = training.weights()
    training.step()
    training.step(norm=INFINITE)
    assert torch.equal(training.weights(), begin)
    assert training.course.step == 0


def test_weights_that_are_not_finite_are_neither_kept_nor_saved(training: Training) -> None:
    begin = training.weights()
    training.step()
    with torch.no_grad():
        training.net.weight[0, 0] = NAN
    training.course.save()
    assert torch.equal(training.weights(), begin)
    saved = torch.load(training.course.file)
    assert torch.equal(saved["state"]["modules"]["net"]["weight"], begin)
    assert saved["rate_share"] == 0.5


def test_three_faults_stop_it_and_the_checkpoint_is_good(
    training: Training, tmp_path: Path
) -> None:
    training.course.save()
    for _ in range(STEPS_BETWEEN_COPIES):
        training.step()
    good = training.weights()
    for _ in range(MOST_FAULTS - 1):
        training.step(spoiled_by=NAN)
    with pytest.raises(TrainingError, match=r"the last of 3 times: stopped.* at 0.125 of the rate"):
        training.step(spoiled_by=NAN)
    again = Training(tmp_path)
    assert torch.equal(again.weights(), good)
    assert again.course.step == STEPS_BETWEEN_COPIES
    assert again.course.rate_share == 0.125
    again.step(spoiled_by=NAN)  # a new start bears as many


def test_a_course_goes_on_from_its_checkpoint_as_if_it_had_not_ended(tmp_path: Path) -> None:
    one = Training(tmp_path)
    for _ in range(7):
        one.step()
    one.course.save()
    other = Training(tmp_path)
    assert "net: goes on from step 7, minute 7.0" in other.log.path.read_text()
    for each in (one, other):
        each.step()
    assert all(map(torch.equal, one.state.tensors(), other.state.tensors()))
    assert other.course.step == 8
    assert other.course.clock.minutes == 8


def test_a_signal_in_a_step_ends_it_after_the_step_with_a_checkpoint(training: Training) -> None:
    training.step()
    assert training.course.goes_on()
    assert training.stop.is_awaited
    training.stop.number = 15  # as a signal meanwhile
    with pytest.raises(Stopped) as stopped:
        training.course.took("net", 1, torch.ones(2))
    assert stopped.value.number == 15
    assert torch.load(training.course.file)["step"] == 2
    assert not training.stop.is_awaited, "a second signal ends it at once"


def test_a_signal_waits_for_the_line_of_a_checkpoint_that_is_being_written(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.step()
    to_save = training.state.to_save

    def signalled() -> object:
        training.stop._hear(15, None)
        return to_save()

    monkeypatch.setattr(training.state, "to_save", signalled)
    with pytest.raises(Stopped) as stopped:
        training.course.save()
    assert stopped.value.number == 15
    assert torch.load(training.course.file)["step"] == 1
    assert "net: saved step 1," in training.log.path.read_text()
    with pytest.raises(Stopped):  # a second signal doesn't wait
        training.stop._hear(15, None)


def test_it_ends_when_its_minutes_are_spent(tmp_path: Path) -> None:
    training = Training(tmp_path, steps=3)
    for _ in range(3):
        training.step()
    assert not training.course.goes_on()
    assert not training.stop.is_awaited
