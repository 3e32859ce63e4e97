"""Whole steps that are captured, by a recorder that does on a CPU what a GPU's graphs do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPTokenizer

from stable_diffusion.catalogue import WEIGHTS
from train_demo import graphs
from train_demo.denoiser import Denoiser
from train_demo.latents import Latents
from train_demo.progress import Log
from train_demo.sampling import Sampler
from train_demo.settings import PRESETS
from train_demo.state import State, adamw
from train_demo.whole_step import WholeStep

Step = Callable[[], torch.Tensor]
SETTINGS = dataclasses.replace(PRESETS["smoke"], batch={64: 4, 128: 2})


@pytest.fixture(autouse=True)
def _inference() -> None:
    """Here something is trained."""


class Recorder:
    """Runs a function once when it is recorded, as libraries want it, and again at each replay."""

    def __init__(self) -> None:
        self.tried = 0
        self.failing = 0
        self.replayed: Callable[[Step], torch.Tensor] = lambda function: function()

    def record(self, function: Step) -> tuple[torch.Tensor, Callable[[], None]]:
        self.tried += 1
        output = function().clone()
        if self.tried <= self.failing:
            raise RuntimeError("No available kernel.\nAborting execution.")
        return output, lambda: self._replay(output, function)

    def _replay(self, output: torch.Tensor, function: Step) -> None:
        output.copy_(self.replayed(function))


class Training:
    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "demo" / "tokenizer")
        denoiser, averaged = (Denoiser.new(SETTINGS, tokenizer) for _ in range(2))
        optimizer = adamw(denoiser.parameters(), (0.9, 0.99), 0.01)
        averages = {f"averaged_{name}": each for name, each in averaged.modules().items()}
        self.state = State(denoiser.modules() | averages, optimizer)
        self.step = WholeStep(denoiser, averaged, optimizer)
        learned = Latents(
            {size: torch.randn(6, 4, size // 8, size // 8).half() for size in (64, 128)},
            torch.randint(9000, (6, 2, 77)),
            torch.zeros(77).int(),
            torch.arange(6) < 3,
        )
        self.sampler = Sampler(learned, SETTINGS, torch.device("cpu"), seed=0)
        self.recorder, self.log = Recorder(), Log(folder / "log.txt")

    def capture(self) -> dict[int, graphs.Captured]:
        recorder: Any = self.recorder
        marker = self.log.path.with_name("capturing")
        return graphs.capture_all(self.step, self.state, self.sampler, recorder, marker, self.log)

    def logged(self) -> str:
        return self.log.path.read_text()


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def test_captured_steps_are_the_plain_ones_at_each_size_and_leave_no_trace(
    training: Training,
) -> None:
    before = training.state.copy()
    captured = training.capture()
    assert all(map(torch.equal, training.state.tensors(), before))
    assert list(captured) == [64, 128]
    assert "64 px: steps are replayed from a graph, with flash attention" in training.logged()

    # With batches, a rate and a share of the average that are not those of the capture.
    training.state.set_rate(2e-3)
    training.step.renewed.fill_(0.25)
    batches = {size: [training.sampler.batch(size) for _ in range(2)] for size in captured}

    def run(way: Any) -> tuple[torch.Tensor, torch.Tensor]:
        training.state.restore(before)
        numbers = [way[size](batch) for size, of_size in batches.items() for batch in of_size]
        return torch.stack(numbers), torch.cat([t.flatten() for t in training.state.tensors()])

    numbers, plain = run(dict.fromkeys(captured, training.step))
    replayed, after = run(captured)
    torch.testing.assert_close(replayed, numbers, atol=0, rtol=0.01)
    way = plain - torch.cat([each.flatten() for each in before])
    assert (after - plain).norm() < 0.05 * way.norm()


def test_an_attention_that_a_card_lacks_gives_way_to_the_next(training: Training) -> None:
    training.recorder.failing = 2
    before = training.state.copy()
    captured = training.capture()
    assert list(captured) == [64, 128]
    logged = training.logged()
    assert "64 px: no graph with flash attention: No available kernel. Aborting exec" in logged
    assert "64 px: steps are replayed from a graph, with plain attention" in logged
    assert "128 px: steps are replayed from a graph, with flash attention" in logged
    assert all(map(torch.equal, training.state.tensors(), before))


def spoiled(function: Step) -> torch.Tensor:
    return function() * torch.tensor([1, float("nan")])


def different(function: Step) -> torch.Tensor:
    return function() * 1.2


@pytest.mark.parametrize(
    ("replayed", "fault"),
    [(spoiled, "are not finite"), (different, "are not those of plain steps")],
)
def test_a_graph_whose_first_steps_are_not_the_plain_ones_is_not_used(
    training: Training, replayed: Callable[[Step], torch.Tensor], fault: str
) -> None:
    training.recorder.replayed = replayed
    before = training.state.copy()
    assert training.capture() == {}
    assert training.recorder.tried == 2 * len(graphs.ATTENTIONS)
    # A CPU has no memory-efficient attention.
    assert training.logged().count(fault) == training.recorder.tried - 2
    assert all(map(torch.equal, training.state.tensors(), before))


def test_a_graph_that_has_the_rate_of_its_capture_is_not_used(training: Training) -> None:
    def at_no_rate(function: Step) -> torch.Tensor:
        training.state.set_rate(0)
        return function()

    training.recorder.replayed = at_no_rate
    assert training.capture() == {}
    assert "it leads the weights" in training.logged()


def test_after_a_capture_that_ended_the_process_steps_are_plain_once(training: Training) -> None:
    def ends_it(_: Step) -> torch.Tensor:
        raise SystemExit

    training.recorder.replayed = ends_it
    with pytest.raises(SystemExit):
        training.capture()
    training.recorder.replayed = lambda function: function()
    assert training.capture() == {}
    assert "plain this time: the last process ended while it captured" in training.logged()
    assert list(training.capture()) == [64, 128]
