"""Graphs without a GPU: a recorder for a CPU calls the function again instead of replaying it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from stable_diffusion import engine, executors, images
from stable_diffusion.adapters import Combination, layout_of, ranks_of
from stable_diffusion.catalogue import SetupError
from stable_diffusion.events import Preview
from stable_diffusion.executors import cuda_graphs, proof
from stable_diffusion.executors.cuda_graphs import CudaGraphExecutor
from stable_diffusion.executors.plain import PlainExecutor
from stable_diffusion.models import Model
from stable_diffusion.previews import Previews
from stable_diffusion.request import SCHEDULERS
from stable_diffusion.rough_decoder import RoughDecoder
from tests.support import made_loras
from tests.support.pictures import EXAMPLES, difference, half_mask, same
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


def test_previews_of_captured_steps_are_those_of_plain_ones(
    demo: Model, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PREVIEW_SECONDS", 0)

    def shown() -> dict[int, bytes]:
        """The last preview of each image."""
        inputs = {"num_images": 3, "num_inference_steps": 12}
        with closing(Studio(demo, previews=Previews(RoughDecoder.of(demo)))) as studio:
            events = [one for one in studio.events(True, **inputs) if isinstance(one, Preview)]
        return {one.index: one.file for one in events}

    plain = shown()
    monkeypatch.setattr(executors, "choose", lambda *_: made(demo, recorder))
    captured = shown()
    assert recorder.replayed
    assert plain.keys() == captured.keys() == {0, 1, 2}
    for index, file in plain.items():
        ours, theirs = (Image.open(io.BytesIO(one)) for one in (captured[index], file))
        others = [Image.open(io.BytesIO(plain[one])) for one in plain if one != index]
        near = difference(ours.convert("RGB"), theirs.convert("RGB"))[1]
        far = [difference(ours.convert("RGB"), one.convert("RGB"))[1] for one in others]
        assert near < min(far) / 4


def test_a_graph_is_captured_when_the_calls_ahead_pay_for_it(
    graphs: Studio, recorder: Recorder
) -> None:
    graphs.draw(num_inference_steps=1)  # until the native size of one image is captured
    recorded = recorder.recorded
    graphs.draw(num_inference_steps=4, guidance_scale=1)
    assert recorder.recorded == recorded
    graphs.draw(num_inference_steps=8, guidance_scale=1)
    assert recorder.recorded == recorded + 1
    before = graphs.engine.totals()
    graphs.draw(num_inference_steps=8, guidance_scale=1)
    after = graphs.engine.totals()
    assert (before["captures"], after["captures"]) == (2, 2)
    assert after["replays"] - before["replays"] == after["calls"] - before["calls"] == 8


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
    captured = executor._graphs[bank.kind, 2, None]
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


def put(executor: Any, combination: Combination) -> Any:
    """With a combination in the first slot of tables that have two."""
    ranks = [ranks_of(combination), {"conv_in": 2}]
    executor.adapters.move(layout_of(ranks, 3), {})
    executor.adapters.fill(1, combination)
    return executor


def test_calls_with_adapters_have_graphs_of_their_own_which_follow_the_tables(
    demo: Model, recorder: Recorder
) -> None:
    unet = demo.pipeline.unet
    one, other = (
        [(made_loras.lora(unet, seed, rank, ("attn", "resnets")), 1.0)]
        for seed, rank in ((0, 4), (1, 3))
    )
    executor = put(made(demo, recorder), one)
    bank, occupants = proof.trial(demo, images=2)
    adapted = [replace(occupants[0], adapter=1), occupants[1]]
    plainly = executor.step(bank, occupants, 99, 99)

    def drawn(combination: Combination, asked: list[Any] = adapted) -> bool:
        expected = put(PlainExecutor(demo), combination).step(bank, adapted, 99, 0)
        found = executor.step(bank, asked, 99, 99)[:2]
        assert proof.is_close(found[1], plainly[1], torch.float32)
        assert not proof.is_close(found[0], plainly[0], torch.float32)
        return proof.is_close(found, expected, torch.float32)

    assert drawn(one)
    first = executor.adapters.layout
    assert [shape[1:] for shape in executor._graphs] == [(4, None), (4, first)]
    recorded, replayed = recorder.recorded, recorder.replayed
    assert drawn(one)
    executor.adapters.fill(1, other)
    assert drawn(other)
    assert recorder.recorded == recorded
    assert recorder.replayed == replayed + 2
    executor.adapters.move(layout_of([ranks_of(other)], 4), {1: 2})
    assert drawn(other, [replace(occupants[0], adapter=2), occupants[1]])
    assert recorder.recorded == recorded + 1
    assert [shape[1:] for shape in executor._graphs] == [(4, None), (4, executor.adapters.layout)]


def test_a_graph_whose_tables_are_gone_is_not_replayed_for_equal_ones(
    demo: Model, recorder: Recorder
) -> None:
    combination = [(made_loras.lora(demo.pipeline.unet, 0), 1.0)]
    executor = put(made(demo, recorder), combination)
    bank, occupants = proof.trial(demo)
    adapted = [replace(occupants[0], adapter=1)]
    before = executor.step(bank, adapted, 99, 99)
    recorded = recorder.recorded
    put(executor, combination)
    after = executor.step(bank, adapted, 99, 99)
    assert recorder.recorded == recorded + 1
    assert proof.is_close(before, after, torch.float32)


def test_a_lora_whose_captured_step_differs_costs_its_own_graph_only(
    demo: Model, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    executor = put(made(demo, recorder), [(made_loras.lora(demo.pipeline.unet, 0), 2.0)])
    bank, occupants = proof.trial(demo)
    adapted = [replace(occupants[0], adapter=1)]
    executor.step(bank, occupants, 99, 99)
    recorder.spoil = lambda output: output * 1.1
    executor.step(bank, adapted, 99, 99)
    assert [shape[1:] for shape in executor._graphs] == [(2, None)]
    recorder.spoil = lambda output: output
    recorded, replayed = recorder.recorded, recorder.replayed
    executor.step(bank, adapted, 99, 99)
    assert (recorder.recorded, recorder.replayed) == (recorded, replayed)
    executor.step(bank, occupants, 99, 99)
    assert recorder.replayed == replayed + 1
    assert capsys.readouterr().err == ""


def test_requests_with_loras_draw_the_same_from_graphs(
    demo: Model, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loras = {f"lora {seed}": made_loras.lora(demo.pipeline.unet, seed, size=0.3) for seed in (1, 2)}
    folder = made_loras.folder(demo, tmp_path, loras)
    plain = Studio(demo, loras=folder)
    monkeypatch.setattr(executors, "choose", lambda *_: made(demo, recorder))
    drawing = Studio(demo, loras=folder)
    asked = [
        {"num_inference_steps": 12, "seed": seed, "loras": names}
        for seed, names in enumerate(([], ["lora 1"], ["lora 2:0.5", "lora 1:-1"]))
    ]
    together = drawing.draw_together(asked)
    assert any(shape[2] for shape in drawing.engine._executor._graphs)  # type: ignore[attr-defined]
    for inputs, (ours,) in zip(asked, together, strict=True):
        assert same(ours, plain.draw(**inputs)[0])
    plain.close()
    drawing.close()


def test_an_executor_that_can_not_be_had_is_refused_in_words(demo: Model) -> None:
    for name, reason in (("fast", "give one of plain"), ("cuda-graphs", "there is no GPU")):
        with pytest.raises(SetupError, match=reason):
            executors.choose(name, demo, lambda: None)
