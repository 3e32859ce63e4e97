"""Graphs without a GPU: a recorder for a CPU calls the function again instead of replaying it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch

from stable_diffusion import executors, images
from stable_diffusion.catalogue import SetupError
from stable_diffusion.executors import cuda_graphs, proof
from stable_diffusion.executors.cuda_graphs import CudaGraphExecutor
from stable_diffusion.models import Model
from stable_diffusion.request import SCHEDULERS
from tests.support.pictures import EXAMPLES, half_mask, same
from tests.support.studio import Studio

FLOWER = images.read_image(EXAMPLES / "flower.png")


class Recorder:
    """Records as a GPU does: outputs stay where they are, and inputs are read where they were."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0
        self.preferred: list[str] = []
        self.spoil: Callable[[torch.Tensor], torch.Tensor] = lambda output: output
        self.error: Exception | None = None
        self.without: set[str] = set()
        self.size = 0

    def record(
        self, function: Callable[[], torch.Tensor]
    ) -> tuple[torch.Tensor, Callable[[], None]]:
        if self.error:
            raise self.error
        if self.preferred[-1] in self.without:
            raise RuntimeError("No available kernel")
        output = function().clone()
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            output.copy_(self.spoil(function()))

        return output, replay

    def reserved(self) -> int:
        self.size += 1
        return self.size

    def synchronize(self) -> None:
        pass

    def attention_backends(self) -> list[str]:
        return ["cudnn", "flash"]

    def preferring(self, backend: str) -> AbstractContextManager[None]:
        self.preferred.append(backend)
        return nullcontext()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(autouse=True)
def _all_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are tried and kept although they save nothing here."""
    monkeypatch.setattr(cuda_graphs, "SMALLEST_GAIN", -1e9)
    monkeypatch.setattr(cuda_graphs, "EXPECTED_GAIN", 1e9)


@pytest.fixture
def graphs(demo: Model, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setattr(executors, "choose", lambda *_: made(demo, recorder))
    studio = Studio(demo)
    yield studio
    studio.close()


def made(demo: Model, recorder: Recorder, limit: int = 10**9, fuse: Any = None) -> Any:
    return CudaGraphExecutor(demo, recorder, limit, fuse)  # type: ignore[arg-type]


def warmed(executor: CudaGraphExecutor) -> CudaGraphExecutor:
    while executor.has_work:
        assert executor.is_warming
        executor.work()
    assert not executor.is_warming
    return executor


def test_a_captured_step_draws_the_same_with_every_sampler_and_mask(
    studio: Studio, graphs: Studio, recorder: Recorder
) -> None:
    asked: list[dict[str, Any]] = [
        {"scheduler": name, "num_inference_steps": 5 + index, "seed": index}
        for index, name in enumerate(SCHEDULERS)
    ]
    asked[0] |= {"image": FLOWER, "mask": half_mask(), "strength": 0.9}
    asked[1] |= {"guidance_scale": 1}
    asked[2] |= {"num_images": 2, "image": FLOWER, "strength": 0.7}
    together = graphs.draw_together(asked)
    assert recorder.replayed > 10
    for inputs, pictures in zip(asked, together, strict=True):
        for ours, theirs in zip(pictures, studio.draw(**inputs), strict=True):
            assert same(ours, theirs)


def test_a_graph_is_captured_when_the_calls_ahead_pay_for_it(
    graphs: Studio, recorder: Recorder
) -> None:
    graphs.draw(num_inference_steps=1)  # until the native size of one image is captured
    recorded = recorder.recorded
    graphs.draw(num_inference_steps=4, guidance_scale=1)
    assert recorder.recorded == recorded
    graphs.draw(num_inference_steps=8, guidance_scale=1)
    assert recorder.recorded == recorded + 1


def test_the_fastest_attention_is_measured_once_for_a_kind(demo: Model, recorder: Recorder) -> None:
    executor = warmed(made(demo, recorder))
    assert recorder.preferred == ["cudnn", "flash"]
    bank, occupants = proof.trial(demo)
    executor._graphs.clear()
    executor._capture(bank, occupants, rows=2)
    assert len(recorder.preferred) == 3
    assert recorder.preferred[-1] in ("cudnn", "flash")


def test_a_card_without_an_attention_takes_another(demo: Model, recorder: Recorder) -> None:
    recorder.without = {"cudnn"}
    executor = warmed(made(demo, recorder))
    assert list(executor._backends.values()) == ["flash"]


@pytest.mark.parametrize(
    ("error", "spoiled", "expected"),
    [
        (RuntimeError("capture failed"), False, "CUDA graphs are left out: capture failed"),
        (None, True, "gave other numbers than a plain one"),
    ],
)
def test_graphs_that_fail_or_differ_are_left_out_in_one_line(
    demo: Model,
    recorder: Recorder,
    capsys: pytest.CaptureFixture[str],
    error: Exception | None,
    spoiled: bool,
    expected: str,
) -> None:
    recorder.error = error
    if spoiled:
        recorder.spoil = lambda output: output * 1.1
    executor = warmed(made(demo, recorder))
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1
    bank, occupants = proof.trial(demo)
    after = executor.step(bank, occupants, 99, 99)
    assert recorder.replayed == 0 or spoiled
    again = executor._capture(bank, occupants, rows=2)[:1]
    assert proof.is_close(after, again, torch.float32)


def test_a_call_without_a_graph_takes_a_larger_one_that_is_faster_than_a_plain_call(
    demo: Model, recorder: Recorder
) -> None:
    executor = made(demo, recorder)
    bank, occupants = proof.trial(demo, images=3)
    kind = bank.kind
    expected = [executor.step(bank, occupants[:count], 99, 0) for count in (1, 2, 3)]
    executor._capture(bank, occupants, rows=6)
    captured = executor._graphs[kind, 6, None]
    executor._plain_milliseconds = {(kind, 2, None): captured.milliseconds + 1}
    for count, replays in ((1, 0), (2, 1), (3, 1)):
        replayed = recorder.replayed
        after = executor.step(bank, occupants[:count], 99, 0)[:count]
        assert recorder.replayed == replayed + replays
        assert proof.is_close(after, expected[count - 1], torch.float32)
    executor._plain_milliseconds = {
        (kind, 2, None): captured.milliseconds - 1,
        (kind, 6, None): 10**6,
    }
    assert executor._graph_for((kind, 4, None)) is None


def test_padding_reads_and_writes_nobodys_slot(demo: Model, recorder: Recorder) -> None:
    executor = made(demo, recorder)
    bank, occupants = proof.trial(demo, images=2)
    before = bank._state.clone()
    bank.scatter(occupants[:1], executor._capture(bank, occupants[:1], rows=2))
    assert torch.equal(bank._state[occupants[1].slot], before[occupants[1].slot])
    assert not torch.equal(bank._state[occupants[0].slot], before[occupants[0].slot])


def test_graphs_over_the_limits_are_dropped_the_least_recently_used_first(
    demo: Model, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "GRAPHS", 2)
    executor = made(demo, recorder)
    bank, occupants = proof.trial(demo, images=4)
    for count in (1, 2):
        executor._capture(bank, occupants[:count], rows=2 * count)
    executor.step(bank, occupants[:1], 99, 0)
    executor._capture(bank, occupants[:3], rows=6)
    assert [rows for _, rows, _ in executor._graphs] == [2, 6]
    executor._memory_limit = 1
    executor._capture(bank, occupants[:4], rows=8)
    assert [rows for _, rows, _ in executor._graphs] == [8]
    executor.release()
    assert not executor._graphs


def test_a_graph_that_saves_nothing_is_not_kept(
    demo: Model, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "SMALLEST_GAIN", 1.0)
    executor = made(demo, recorder)
    bank, occupants = proof.trial(demo)
    for _ in range(2):
        executor.step(bank, occupants, 99, 99)
    assert not executor._graphs
    assert len(executor._backends) == 1
    recorded = recorder.recorded
    executor.step(bank, occupants, 99, 99)
    assert recorder.recorded == recorded


def test_a_graph_that_will_save_nothing_by_what_fewer_rows_have_shown_is_not_tried(
    demo: Model, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "EXPECTED_GAIN", 1.15)
    executor = made(demo, recorder)
    bank, occupants = proof.trial(demo, images=4)
    executor._capture(bank, occupants[:1], rows=2)
    captured = executor._graphs[bank.kind, 2]
    executor._plain_milliseconds[bank.kind, 2, None] = 2.5 * captured.milliseconds
    recorded = recorder.recorded
    executor.step(bank, occupants[:3], 99, 99)
    assert recorder.recorded == recorded
    executor.step(bank, occupants[:2], 99, 99)
    assert recorder.recorded == recorded + 1


def test_memory_that_is_short_while_capturing_costs_the_graphs_and_nothing_else(
    demo: Model, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.error = torch.OutOfMemoryError("out of memory")
    executor = warmed(made(demo, recorder))
    bank, occupants = proof.trial(demo)
    assert executor.step(bank, occupants, 99, 99).isfinite().all()
    assert capsys.readouterr().err == ""


def test_fused_kernels_that_differ_are_taken_out_again(
    demo: Model, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    forward = demo.pipeline.unet.forward
    undone = list[int]()

    def undo() -> None:
        demo.pipeline.unet.forward = forward
        undone.append(1)

    def fuse() -> Callable[[], None]:
        demo.pipeline.unet.forward = lambda *a, **k: (1.1 * forward(*a, **k)[0],)
        return undo

    warmed(made(demo, recorder, fuse=fuse))
    assert undone == [1]
    assert "Fused kernels are left out" in capsys.readouterr().err


def test_fused_kernels_that_fail_cost_nothing_else(
    demo: Model, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    def fuse() -> Callable[[], None]:
        raise ImportError("No module named 'triton'")

    executor = warmed(made(demo, recorder, fuse=fuse))
    assert "Fused kernels are left out: No module named" in capsys.readouterr().err
    assert executor._backends


def test_an_executor_that_can_not_be_had_is_refused_in_words(demo: Model) -> None:
    for name, reason in (("fast", "give one of plain"), ("cuda-graphs", "there is no GPU")):
        with pytest.raises(SetupError, match=reason):
            executors.choose(name, demo, lambda: None)
