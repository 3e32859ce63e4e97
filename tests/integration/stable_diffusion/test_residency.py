"""Several models on one device: pictures are what each model gives alone, wherever it has been."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from stable_diffusion import executors, models, residency
from stable_diffusion.events import Event, Picture, Progress
from stable_diffusion.executors import cuda_graphs
from stable_diffusion.executors.cuda_graphs import CudaGraphExecutor
from stable_diffusion.models import Model
from stable_diffusion.residency import Residency, Resident, slots_of
from tests.support import random_models, studio
from tests.support.pictures import same
from tests.support.studio import Studio, until_over

CPU = torch.device("cpu")
LONG = {"num_inference_steps": 60, "guidance_scale": 1}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """The demo model, and one with another UNet but the same text encoder and autoencoder."""
    demo = studio.demo_model()
    folder = tmp_path_factory.mktemp("models") / "other"
    return [demo, models.load(random_models.make("img2img", demo, folder))]


@pytest.fixture(scope="module")
def alone(two: list[Model]) -> list[Callable[..., Image.Image]]:
    """What draws with each of the two models by itself."""

    def draw(model: Model, **inputs: Any) -> Image.Image:
        with closing(Studio(model)) as by_itself:
            return by_itself.draw(**inputs)[0]

    return [lambda model=model, **inputs: draw(model, **inputs) for model in two]


def bytes_of(*some: Model) -> int:
    """The bytes of all tensors of models, equal ones counted again."""
    return sum(slot.tensor.nbytes for model in some for _, slot in slots_of(model))


def unet_bytes(model: Model) -> int:
    return sum(tensor.nbytes for tensor in model.pipeline.unet.parameters())


class Shared:
    """Two models with room for the larger one alone, unless told otherwise."""

    def __init__(self, two: list[Model], budget: int | None, **options: Any) -> None:
        self.residency = Residency(CPU, budget)
        self.studios = [Studio(model, residency=self.residency, **options) for model in two]

    def close(self) -> None:
        for one in self.studios:
            one.close()


@pytest.fixture
def shared(two: list[Model]) -> Iterator[Shared]:
    with closing(Shared(two, max(map(bytes_of, two)))) as shared:
        yield shared


def submitted(one: Studio, **inputs: Any) -> SimpleQueue[Event]:
    events: SimpleQueue[Event] = SimpleQueue()
    one.engine.submit(one.request(**inputs), events.put)
    return events


def begun(one: Studio, **inputs: Any) -> SimpleQueue[Event]:
    """A request whose first step is done."""
    events = submitted(one, **inputs)
    while not isinstance(events.get(timeout=60), Progress):
        pass
    return events


def picture_of(events: SimpleQueue[Event]) -> Image.Image:
    (picture,) = [event.image for event in until_over(events) if isinstance(event, Picture)]
    return picture


def test_each_draws_what_it_draws_alone_while_one_has_room(
    shared: Shared, alone: list[Callable[..., Image.Image]]
) -> None:
    for number in (0, 1, 0, 1):
        (picture,) = shared.studios[number].draw()
        assert same(picture, alone[number]())
        assert shared.residency.here == [shared.studios[number].model.weights.name]
    assert shared.residency.moves == 4  # that which was loaded last has left for the first


def test_where_there_is_room_for_all_nothing_moves(
    two: list[Model], alone: list[Callable[..., Image.Image]]
) -> None:
    with closing(Shared(two, bytes_of(*two))) as shared:
        asked = [submitted(one, seed=7) for one in shared.studios for _ in range(2)]
        for number, events in enumerate(asked):
            assert same(picture_of(events), alone[number // 2](seed=7))
        assert shared.residency.moves == 0
        assert len(shared.residency.here) == 2


@pytest.mark.parametrize("moves", [False, True])
def test_what_two_models_have_in_common_is_there_once(moves: bool, two: list[Model]) -> None:
    with closing(Shared(two, bytes_of(*two) if moves else None)) as shared:
        first, second = (one.model.pipeline for one in shared.studios)
        for part in ("text_encoder", "vae"):
            pairs = zip(
                getattr(first, part).parameters(), getattr(second, part).parameters(), strict=True
            )
            assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)
        if moves:
            common = bytes_of(two[0]) - unet_bytes(two[0])
            assert shared.residency.bytes_here <= bytes_of(*two) - common


def test_two_that_are_wanted_at_once_take_turns_in_the_middle_of_their_steps(
    shared: Shared,
    alone: list[Callable[..., Image.Image]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(residency, "SHORTEST_QUANTUM", 0.1)
    monkeypatch.setattr(residency, "QUANTUM_OF_MOVES", 0)  # however slow this machine moves them
    asked = [submitted(one, **LONG) for one in shared.studios]
    pictures = [picture_of(events) for events in asked]
    for picture, draw in zip(pictures, alone, strict=True):
        assert same(picture, draw(**LONG))
    assert shared.residency.moves > 3


def test_a_quantum_that_is_long_lets_whoever_has_begun_go_on(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency, "SHORTEST_QUANTUM", 60)
    shared.studios[1].draw()
    before = shared.residency.moves
    first, second = begun(shared.studios[1], **LONG), submitted(shared.studios[0])
    third = submitted(shared.studios[1])
    for events in (first, second, third):
        picture_of(events)
    assert shared.residency.moves == before + 1


def test_a_request_that_is_cancelled_while_its_model_waits_is_forgotten(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency, "SHORTEST_QUANTUM", 60)
    shared.studios[1].draw()
    before = shared.residency.moves
    running = begun(shared.studios[1], **LONG)
    events: SimpleQueue[Event] = SimpleQueue()
    job = shared.studios[0].engine.submit(shared.studios[0].request(), events.put)
    time.sleep(0.2)
    job.cancel()
    picture_of(running)
    time.sleep(0.5)
    assert shared.residency.moves == before
    assert events.empty()
    assert shared.studios[0].draw()


def test_where_a_model_has_no_room_at_all_its_requests_fail_and_others_go_on(
    shared: Shared, alone: list[Callable[..., Image.Image]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shared.studios
    second.draw()
    copy_in = shared.residency._copy_in

    def fails(resident: Resident) -> None:
        if resident.name == first.model.weights.name:
            raise torch.OutOfMemoryError("out of memory")
        copy_in(resident)

    monkeypatch.setattr(shared.residency, "_copy_in", fails)
    with pytest.raises(MemoryError, match="not enough memory"):
        first.draw()
    assert same(second.draw()[0], alone[1]())
    monkeypatch.undo()
    assert same(first.draw()[0], alone[0]())


def test_a_model_that_goes_leaves_the_others_what_they_have_in_common(
    two: list[Model], alone: list[Callable[..., Image.Image]]
) -> None:
    with closing(Shared(two, bytes_of(*two))) as shared:
        shared.studios.pop(0).close()
        left = shared.studios[0]
        assert shared.residency.here == [left.model.weights.name]
        assert shared.residency.bytes_here <= bytes_of(left.model)
        assert same(left.draw()[0], alone[1]())


class Recorder:
    """Replays as a GPU does: with the weights at the addresses that they had."""

    def __init__(self) -> None:
        self.unet: nn.Module | None = None
        self.replayed = 0

    def record(
        self, function: Callable[[], torch.Tensor]
    ) -> tuple[torch.Tensor, Callable[[], None]]:
        assert self.unet
        parameters = list(self.unet.parameters())
        addresses = [parameter.data for parameter in parameters]
        output = function().clone()

        def replay() -> None:
            self.replayed += 1
            now = [parameter.data for parameter in parameters]
            for parameter, there in zip(parameters, addresses, strict=True):
                parameter.data = there
            output.copy_(function())
            for parameter, there in zip(parameters, now, strict=True):
                parameter.data = there

        return output, replay

    def reserved(self) -> int:
        return 0

    def synchronize(self) -> None:
        pass

    def attention_backends(self) -> list[str]:
        return ["flash"]

    def preferring(self, backend: str) -> AbstractContextManager[None]:
        return nullcontext()


class Overwritten(Residency):
    """What has left the device is overwritten there at once, by whatever comes next."""

    def _move_out(self, resident: Resident) -> None:
        before = {number: copy.tensor for number, copy in self._copies.items()}
        super()._move_out(resident)
        for number, tensor in before.items():
            if number not in self._copies and tensor.is_floating_point():
                tensor.fill_(torch.nan)


@pytest.mark.parametrize("drops", [True, False])
def test_what_was_captured_with_a_models_addresses_is_dropped_when_it_leaves(
    drops: bool,
    two: list[Model],
    alone: list[Callable[..., Image.Image]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cuda_graphs, "SMALLEST_GAIN", -1e9)
    monkeypatch.setattr(cuda_graphs, "EXPECTED_GAIN", 1e9)
    monkeypatch.setattr(cuda_graphs, "CALLS_THAT_PAY", 1)
    recorders = {model.weights.name: Recorder() for model in two}

    def choose(_: str | None, model: Model, __: Callable[[], None]) -> CudaGraphExecutor:
        recorder = recorders[model.weights.name]
        recorder.unet = model.pipeline.unet
        return CudaGraphExecutor(model, recorder, 10**9)  # type: ignore[arg-type]

    monkeypatch.setattr(executors, "choose", choose)
    monkeypatch.setattr(f"{__name__}.Residency", Overwritten)
    if not drops:
        monkeypatch.setattr(CudaGraphExecutor, "release", lambda _: None)
    expected = [draw(seed=3) for draw in alone]
    with closing(Shared(two, max(map(bytes_of, two)))) as shared:
        with nullcontext() if drops else pytest.raises(ArithmeticError):  # or it finds nothing
            for number in (0, 0, 1, 1, 0):
                assert same(shared.studios[number].draw(seed=3)[0], expected[number])
        assert any(recorder.replayed for recorder in recorders.values())
