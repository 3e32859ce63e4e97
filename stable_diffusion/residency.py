"""Residency: which of several models have their weights on the device, and which takes a turn.

All weights are kept in the machine's memory, pinned for a GPU. The device holds those of as many
models as a budget has room for, and the least recently used leave. Tensors that two models have in
common, by content, are there once. Engines take turns: those of models on the device after each
other, so that none waits for another's whole request. A model that would have to make another
leave which is at work waits until that one has had the device for a quantum: long beside the time
that moving takes, so that two models that are wanted at once don't spend their time on moving.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from stable_diffusion.models import Model

SHORTEST_QUANTUM = 2.0
"""Seconds that a model at work has the device for, at least, before another makes it leave."""
QUANTUM_OF_MOVES = 10
"""The quantum in times of what the last moves took: so moving takes a tenth of the time at most."""

PATIENCE = 0.2
"""Seconds after which who waits for a turn looks whether it is still wanted."""


@dataclass(eq=False)
class Resident:
    """A model that shares the device with others.

    name: of its weights, for messages.
    tensors: its parameters and buffers, each with its content in the machine's memory.
    is_wanted: returns whether it is at work, or has work to do.
    rest: ends what uses the weights outside of turns, and drops what was captured with their
        addresses; called when it is in no turn.
    since: when its weights came to the device, in seconds; None while they are not there.
    last_turn: the number of its last turn.
    asked: since when it waits for a turn, in seconds; None while it does not.
    """

    name: str
    tensors: list[tuple[Slot, torch.Tensor]]
    is_wanted: Callable[[], bool]
    rest: Callable[[], None]
    since: float | None = None
    last_turn: int = 0
    asked: float | None = None

    @property
    def is_here(self) -> bool:
        """Whether its weights are on the device."""
        return self.since is not None


@dataclass(frozen=True)
class Slot:
    """A place of a module that has a tensor: a parameter or a buffer."""

    module: nn.Module
    name: str

    @property
    def tensor(self) -> torch.Tensor:
        """What is there now."""
        tensor: torch.Tensor = getattr(self.module, self.name)
        return tensor.data

    def put(self, tensor: torch.Tensor) -> None:
        """Put a tensor there; a parameter stays the same object."""
        if self.name in self.module._parameters:
            getattr(self.module, self.name).data = tensor
        else:
            self.module._buffers[self.name] = tensor


@dataclass
class Copy:
    """A tensor on the device, and the models that use it."""

    tensor: torch.Tensor
    users: set[Resident] = field(default_factory=set)


class Residency:
    """The models that share a device. Threads take turns in it.

    Args:
        device: where they compute.
        budget: bytes of weights that are there at the most; the model in its turn is there in any
            case. None never moves any, as on a CPU, which computes where they are.
        clock: tells the seconds.
    """

    def __init__(
        self,
        device: torch.device,
        budget: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self.budget = budget
        self._clock = clock
        self._changed = threading.Condition()
        self._is_taken = False
        self._residents: list[Resident] = []
        self._kept: dict[tuple[str, torch.Size, torch.dtype], list[torch.Tensor]] = {}
        """The contents, by what a tensor must have in common with another to be compared."""
        self._copies: dict[int, Copy] = {}
        """Those on the device, by the ids of their contents."""
        self._turns = 0
        self.moves = 0
        """How often weights were moved to the device."""
        self.move_seconds = 0.0
        """That the last move took, with making room for it."""

    @property
    def here(self) -> list[str]:
        """The names of the models whose weights are on the device, least recently used first."""
        here = [one for one in self._residents if one.is_here]
        return [one.name for one in sorted(here, key=lambda one: one.last_turn)]

    @property
    def bytes_here(self) -> int:
        """The bytes of weights that are on the device."""
        return sum(copy.tensor.nbytes for copy in self._copies.values())

    @property
    def bytes_to_come(self) -> int:
        """The bytes of weights for which the budget still has room."""
        return max(0, (self.budget or 0) - self.bytes_here)

    @property
    def quantum(self) -> float:
        """Seconds that a model at work has the device for before another makes it leave."""
        return max(SHORTEST_QUANTUM, QUANTUM_OF_MOVES * self.move_seconds)

    def make_room(self, size: int) -> None:
        """Let models leave until some more bytes of weights are within the budget.

        It is for weights that are about to be loaded onto the device.
        """
        if self.budget is None:
            return
        with self._alone():
            for one in self._leavers():
                if self.bytes_here + size <= self.budget:
                    break
                self._move_out(one)

    def add(
        self, model: Model, is_wanted: Callable[[], bool], rest: Callable[[], None]
    ) -> Resident:
        """Let a model that was loaded onto the device share it.

        Args:
            is_wanted, rest: see `Resident`.
        """
        with self._alone():
            slots = slots_of(model)
            resident = Resident(model.weights.name, [], is_wanted, rest)
            for path, slot in slots:
                resident.tensors.append((slot, self._content(path, slot.tensor)))
            if self.budget is None:  # they compute with the contents themselves
                for slot, content in resident.tensors:
                    slot.put(content)
            else:
                for slot, content in resident.tensors:
                    copy = self._copies.setdefault(id(content), Copy(slot.tensor))
                    copy.users.add(resident)
                    slot.put(copy.tensor)
            resident.since = self._clock()
            self._residents.append(resident)
            self._turns += 1
            resident.last_turn = self._turns
            self._shrink(resident)
        return resident

    def remove(self, resident: Resident) -> None:
        """Forget a model, whose engine is closed, and all that no other has in common with it."""
        with self._alone():
            if self.budget is not None and resident.is_here:
                self._move_out(resident)
            self._residents.remove(resident)
            used = {id(content) for one in self._residents for _, content in one.tensors}
            for key, contents in list(self._kept.items()):
                self._kept[key] = [content for content in contents if id(content) in used]
                if not self._kept[key]:
                    del self._kept[key]

    def begin(self, resident: Resident) -> bool:
        """Begin a turn of a model: its weights are on the device, and no other computes.

        Returns:
            Whether it has begun; if not, which is after `PATIENCE` seconds, ask again.

        Raises:
            torch.OutOfMemoryError: when there is no room there, though all others have left.
        """
        with self._changed:
            resident.asked = resident.asked or self._clock()
            if not self._changed.wait_for(lambda: self._may_begin(resident), PATIENCE):
                return False
            resident.asked = None
            self._is_taken = True
        try:
            if not resident.is_here:
                self._move_in(resident)
        except BaseException:
            self.end()
            raise
        self._turns += 1
        resident.last_turn = self._turns
        return True

    def end(self) -> None:
        """End the turn that has begun."""
        with self._changed:
            self._is_taken = False
            self._changed.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep all models out of their turns in a block."""
        with self._changed:
            while self._is_taken:
                self._changed.wait()
            self._is_taken = True
        try:
            yield
        finally:
            self.end()

    def _may_begin(self, resident: Resident) -> bool:
        """Return whether it is a model's turn: of those that may have one, it waits the longest."""
        if self._is_taken:
            return False
        waiting = [one for one in self._residents if one.asked is not None and one.is_wanted()]
        waiting.sort(key=lambda one: one.asked or 0)
        absent = next((one for one in waiting if not one.is_here), None)
        return next(
            (
                one is resident
                for one in waiting
                if one.is_here or (one is absent and self._fits(one))
            ),
            False,
        )

    def _fits(self, resident: Resident) -> bool:
        """Return whether those that would leave for a model are not at work, or no longer due."""
        latest = self._clock() - self.quantum
        leaving = self._to_leave(resident)
        return all(not one.is_wanted() or (one.since or 0) <= latest for one in leaving)

    def _to_leave(self, resident: Resident) -> list[Resident]:
        """Return the models that must leave so that another has room."""
        assert self.budget is not None
        staying = {id(content): content for _, content in resident.tensors}
        here = [one for one in self._residents if one.is_here]
        leaving = []
        for one in self._leavers():
            kept = dict(staying)
            for other in here:
                if other not in leaving:
                    kept |= {id(content): content for _, content in other.tensors}
            if sum(content.nbytes for content in kept.values()) <= self.budget:
                break
            leaving.append(one)
        return leaving

    def _leavers(self) -> list[Resident]:
        """Return the models on the device in the order in which they leave.

        First come those that are not at work, the least recently used first; then those that are,
        and of them first those that have been there the longest.
        """
        here = [one for one in self._residents if one.is_here]
        return sorted(
            here,
            key=lambda one: (True, one.since) if one.is_wanted() else (False, one.last_turn),
        )

    def _shrink(self, newest: Resident) -> None:
        """Let models leave that are beyond the budget, but not the newest."""
        if self.budget is None:
            return
        for one in self._leavers():
            if self.bytes_here <= self.budget:
                return
            if one is not newest:
                self._move_out(one)

    def _move_in(self, resident: Resident) -> None:
        start = self._clock()
        for one in self._to_leave(resident):
            self._move_out(one)
        try:
            self._copy_in(resident)
        except torch.OutOfMemoryError:
            self._move_out(resident)  # as far as it came
            for one in self._leavers():
                self._move_out(one)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            try:
                self._copy_in(resident)
            except torch.OutOfMemoryError:
                self._move_out(resident)
                raise
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.moves += 1
        resident.since = self._clock()
        self.move_seconds = resident.since - start

    @torch.inference_mode(False)
    def _copy_in(self, resident: Resident) -> None:
        for slot, content in resident.tensors:
            copy = self._copies.get(id(content))
            if copy is None:
                tensor = torch.empty_like(content, device=self._device)
                copy = self._copies[id(content)] = Copy(tensor.copy_(content, non_blocking=True))
            copy.users.add(resident)
            slot.put(copy.tensor)

    def _move_out(self, resident: Resident) -> None:
        """Take a model's weights from the device. Who uses them now fails: they are elsewhere."""
        if resident.is_here:
            resident.rest()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        for slot, content in resident.tensors:
            slot.put(content)
            copy = self._copies.get(id(content))
            if copy:
                copy.users.discard(resident)
                if not copy.users:
                    del self._copies[id(content)]
        resident.since = None

    @torch.inference_mode(False)
    def _content(self, path: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor's content in the machine's memory, the same for equal ones."""
        known = self._kept.setdefault((path, tensor.shape, tensor.dtype), [])
        for content in known:
            if content.stride() == tensor.stride() and _are_equal(content, tensor):
                return content
        if self.budget is None:
            content = tensor
        else:
            pinned = self._device.type == "cuda"
            content = torch.empty_like(tensor, device="cpu", pin_memory=pinned).copy_(tensor)
        known.append(content)
        return content


def slots_of(model: Model) -> list[tuple[str, Slot]]:
    """Return the places of a model's tensors, each with its path; of a shared parameter, one."""
    found: dict[int, tuple[str, Slot]] = {}
    for component, part in model.pipeline.components.items():
        if not isinstance(part, nn.Module):
            continue
        for path, module in part.named_modules():
            tensors = [*module._parameters.items(), *module._buffers.items()]
            for name, tensor in tensors:
                if tensor is not None and tensor.numel():
                    found.setdefault(id(tensor), (f"{component}.{path}.{name}", Slot(module, name)))
    return list(found.values())


def _are_equal(content: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Return whether two tensors are equal bit for bit: -0 is not 0, and NaN is NaN."""
    one, other = (each.detach().cpu() for each in (content, tensor))
    if one.element_size() in (2, 4, 8) and one.is_floating_point():
        kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
        one, other = one.view(kind), other.view(kind)
    return torch.equal(one, other)
