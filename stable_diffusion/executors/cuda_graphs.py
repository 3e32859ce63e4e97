"""Steps replayed from CUDA graphs, so that a GPU doesn't wait for Python to launch kernels.

A graph is captured by hand for a kind of image and a number of rows, when the calls ahead pay for
it. Its inputs are tensors of its own, into which a batch is copied; images that a batch lacks are
nobody's. Graphs share one memory pool. They hold the addresses of the model's weights: whoever
moves these calls `release` before. Calls in which a row has an adapter have graphs of their own,
which hold the addresses of the adapters' tables, too, and are dropped when these have moved.
"""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from stable_diffusion import steps
from stable_diffusion.adapters import Layout
from stable_diffusion.banks import Bank, Kind, Occupant
from stable_diffusion.executors import proof
from stable_diffusion.executors.plain import PlainExecutor
from stable_diffusion.models import Model
from stable_diffusion.side_thread import CAPTURE
from stable_diffusion.steps import Batch

CALLS_THAT_PAY = 10
"""Calls of one shape, past and ahead, from which on a graph is captured.

A capture takes a tenth of a second, and a replay saves some ten milliseconds.
"""
GRAPHS = 24
"""Graphs that are kept; the least recently used is dropped."""
GRAPH_MEMORY_SHARE = 0.25
"""The graphs' share of the memory free at the start, which `memory.room_for` leaves to them."""
SMALLEST_GAIN = 0.02
"""Share of a plain call's time that a graph must save to be kept."""
EXPECTED_GAIN = 1.15
"""Largest ratio of a replay's expected time to a plain call's for a graph to be tried.

Expected is the time of the largest graph of fewer rows, in proportion to the rows; the plain call
is the longest one of fewer rows.
"""
MOST_PADDING = 1.5
"""Largest ratio of a graph's rows to those of a call that is padded to use it."""
RUNS = 2
"""Runs of a step that is timed: the first may be slower, the fastest counts."""

Result = TypeVar("Result")

Shape = tuple[Kind, int, Layout | None]
"""The shape of a call: the kind of its images, the number of its rows, and that of the adapters'
tables; None where no row has an adapter."""


@dataclass(frozen=True)
class Captured:
    """A step captured as a graph.

    inputs: where a batch is copied to before a replay.
    output: where `steps.take`'s result is after one.
    milliseconds: that a replay takes.
    bytes: of the device's memory that it added.
    """

    inputs: Batch
    output: torch.Tensor
    replay: Callable[[], None]
    milliseconds: float
    bytes: int

    @property
    def rows(self) -> int:
        """The number of rows of its UNet call."""
        return self.inputs.rows


class GraphRecorder:
    """A recorder that captures functions on a GPU, into one memory pool."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def record(
        self, function: Callable[[], torch.Tensor]
    ) -> tuple[torch.Tensor, Callable[[], None]]:
        """Capture a function; return its output, and the function that replays it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function()  # libraries set themselves up for a stream when they are first called on it
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"
        ):
            output = function()
        return output, graph.replay

    def reserved(self) -> int:
        """Return the bytes of the device's memory that this process holds."""
        return torch.cuda.memory_reserved()

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given."""
        torch.cuda.synchronize()

    def attention_backends(self) -> list[Any]:
        """Return the backends that may compute attention."""
        from torch.nn.attention import SDPBackend

        return [
            SDPBackend.CUDNN_ATTENTION,
            SDPBackend.FLASH_ATTENTION,
            SDPBackend.EFFICIENT_ATTENTION,
        ]

    def preferring(self, backend: Any) -> AbstractContextManager[None]:
        """Prefer a backend for attention in a block; use the others where it can't serve."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        others = [each for each in self.attention_backends() if each is not backend]
        return sdpa_kernel([backend, *others, SDPBackend.MATH], set_priority=True)


class CudaGraphExecutor(PlainExecutor):
    """An executor that replays steps from graphs, and takes those without one plainly.

    Args:
        recorder: captures; tests have one for a CPU.
        fuse: puts fused kernels into the model and returns what takes them out again; None for
            none.
    """

    def __init__(
        self,
        model: Model,
        recorder: GraphRecorder,
        memory_limit: int,
        fuse: Callable[[], Callable[[], None]] | None = None,
    ) -> None:
        super().__init__(model, by_index=True)
        self._recorder = recorder
        self._memory_limit = memory_limit
        self._fuse = fuse
        self._graphs: OrderedDict[Shape, Captured] = OrderedDict()
        self._layout = self.adapters.layout
        self._calls: defaultdict[Shape, int] = defaultdict(int)
        self._plain_milliseconds: dict[Shape, float] = {}
        self._refused: set[Shape] = set()
        self._backends: dict[Kind, Any] = {}
        self._is_left_out = False
        self._to_do = [self._fuse_kernels, self._capture_native]

    @property
    def is_warming(self) -> bool:
        """Whether the native size has no graph yet."""
        return bool(self._to_do)

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do."""
        return bool(self._to_do)

    def work(self) -> None:
        """Do the next part: fused kernels, then the graph of one image of the native size."""
        self._to_do[0]()
        del self._to_do[0]

    def step(
        self, bank: Bank, occupants: list[Occupant], most_rows: int, calls_ahead: int
    ) -> torch.Tensor:
        """Take one step, from its graph where there is one; capture one where that pays."""
        rows = sum(1 + occupant.is_guided for occupant in occupants)
        if self._is_left_out or rows > most_rows:
            return super().step(bank, occupants, most_rows, calls_ahead)
        self._drop_what_moved()
        shape = self._shape(bank, occupants, rows)
        captured = self._graph_for(shape)
        if captured:
            captured.inputs.copy_(bank.gather(occupants, captured.rows))
            captured.replay()
            self.replays += 1
            return captured.output
        self._calls[shape] += 1
        pays = self._calls[shape] + calls_ahead > CALLS_THAT_PAY
        if not pays or shape in self._refused or not self._may_gain(shape):
            return super().step(bank, occupants, most_rows, calls_ahead)
        return self._capture(bank, occupants, rows)

    def release(self) -> None:
        """Drop all graphs: memory is short, or the weights will be moved."""
        self._graphs.clear()
        self._calls.clear()

    def _shape(self, bank: Bank, occupants: list[Occupant], rows: int) -> Shape:
        is_adapted = any(occupant.adapter for occupant in occupants)
        return bank.kind, rows, self.adapters.layout if is_adapted else None

    def _drop_what_moved(self) -> None:
        """Drop the graphs of calls with adapters whose tables are elsewhere now."""
        if self._layout is self.adapters.layout:
            return
        self._layout = self.adapters.layout
        for shape in list(self._graphs):
            if shape[2] is not None:
                del self._graphs[shape]
        for measured in (self._calls, self._plain_milliseconds):
            for shape in list(measured):
                if shape[2] not in (None, self._layout):
                    del measured[shape]
        self._refused = {shape for shape in self._refused if shape[2] in (None, self._layout)}

    def _graph_for(self, shape: Shape) -> Captured | None:
        """Return the graph of a call, or a larger one that takes less time than a plain call."""
        if shape in self._graphs:
            self._graphs.move_to_end(shape)
            return self._graphs[shape]
        kind, rows, layout = shape
        # A plain call takes at least as long as one of fewer rows.
        plain = [
            milliseconds
            for (other, fewer, tables), milliseconds in self._plain_milliseconds.items()
            if (other, tables) == (kind, layout) and fewer <= rows
        ]
        larger = [
            (captured.rows, captured)
            for (other, more, tables), captured in self._graphs.items()
            if (other, tables) == (kind, layout)
            and rows < more <= MOST_PADDING * rows
            and captured.milliseconds < max(plain, default=0)
        ]
        return min(larger, key=lambda each: each[0])[1] if larger else None

    def _may_gain(self, shape: Shape) -> bool:
        """Return whether a graph may still save time, judging by calls of fewer rows."""
        kind, rows, layout = shape
        known = [
            (captured.rows, captured.milliseconds)
            for (other, fewer, tables), captured in self._graphs.items()
            if (other, tables) == (kind, layout) and fewer < rows
        ]
        if not known:
            return True
        fewer, milliseconds = max(known)
        plain = max(
            taken
            for (other, fewer, tables), taken in self._plain_milliseconds.items()
            if (other, tables) == (kind, layout) and fewer < rows
        )
        return milliseconds * rows / fewer < EXPECTED_GAIN * plain

    def _capture(self, bank: Bank, occupants: list[Occupant], rows: int) -> torch.Tensor:
        """Take a step plainly, and capture a graph for the next ones."""
        shape = self._shape(bank, occupants, rows)
        batch = bank.gather(occupants, rows)
        taken, after = self._timed(lambda: steps.take(self.unet, batch))
        self._plain_milliseconds[shape] = taken
        try:
            with CAPTURE:
                captured = self._fastest(bank.kind, batch.clone())
                captured.replay()
            if not proof.is_close(captured.output, after, self.model.dtype):
                if shape[2] is None:
                    self._leave_out("a captured step gave other numbers than a plain one")
                else:  # a client's LoRA may make the most of half precision's errors
                    self._refused.add(shape)
            elif captured.milliseconds > (1 - SMALLEST_GAIN) * self._plain_milliseconds[shape]:
                self._refused.add(shape)
            else:
                self._keep(shape, captured)
        except torch.OutOfMemoryError:
            self._refused.add(shape)
            self.release()
        except RuntimeError as error:  # whatever a driver can't capture
            self._leave_out(error)
        return after

    def _fastest(self, kind: Kind, inputs: Batch) -> Captured:
        """Capture a step with the attention backend that is fastest for a kind, measured once."""
        if kind in self._backends:
            return self._recorded(inputs, self._backends[kind])
        tried: list[tuple[Any, Captured]] = []
        failure: RuntimeError | None = None
        for backend in self._recorder.attention_backends():
            try:
                tried.append((backend, self._recorded(inputs, backend)))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # a card, or a torch, without it
                failure = error
        if not tried:
            raise failure or RuntimeError("there is no attention to choose from")
        self._backends[kind], captured = min(tried, key=lambda each: each[1].milliseconds)
        return captured

    def _recorded(self, inputs: Batch, backend: Any) -> Captured:
        before = self._recorder.reserved()
        with self._recorder.preferring(backend):
            output, replay = self._recorder.record(lambda: steps.take(self.unet, inputs))
        taken, _ = self._timed(replay)
        return Captured(inputs, output, replay, taken, self._recorder.reserved() - before)

    def _timed(self, function: Callable[[], Result]) -> tuple[float, Result]:
        """Return the milliseconds of a call's fastest run, and its result."""
        measured = []
        for _ in range(RUNS):
            self._recorder.synchronize()
            start = time.perf_counter()
            result = function()
            self._recorder.synchronize()
            measured.append(1e3 * (time.perf_counter() - start))
        return min(measured), result

    def _keep(self, shape: Shape, captured: Captured) -> None:
        self.captures += 1
        self._graphs[shape] = captured
        while len(self._graphs) > 1 and (
            len(self._graphs) > GRAPHS
            or sum(each.bytes for each in self._graphs.values()) > self._memory_limit
        ):
            self._graphs.popitem(last=False)

    def _leave_out(self, reason: object) -> None:
        self._is_left_out = True
        self.release()
        proof.left_out("CUDA graphs are", reason)

    def _fuse_kernels(self) -> None:
        """Put fused kernels into the model, if their results are close to those of torch's own."""
        if not self._fuse:
            return
        undo: Callable[[], None] | None = None
        try:
            calls = proof.trial_calls(self).values()
            with CAPTURE:
                expected = [call() for call in calls]
                undo = self._fuse()
                for call, tensor in zip(calls, expected, strict=True):
                    if not proof.is_close(call(), tensor, self.model.dtype):
                        raise ArithmeticError("they gave other numbers than torch's own")
        except Exception as error:  # a card too old, a compiler that is missing or fails
            if undo:
                undo()
            proof.left_out("Fused kernels are", error)

    def _capture_native(self) -> None:
        """Capture the graph of one guided image of the model's native size."""
        try:
            bank, occupants = proof.trial(self.model)
            self._capture(bank, occupants, rows=2)
        except torch.OutOfMemoryError as error:
            proof.left_out("The graph of the native size is", error)
