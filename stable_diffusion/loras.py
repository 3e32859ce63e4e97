"""LoRAs in use: their files, read once and kept, and their places on the device.

Requests with the same LoRAs and weights share a place. What they may take of the device's memory
is bounded: places that nobody uses make room for others, the least recently used first, and a
request for which there is no room now waits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from stable_diffusion import lora_files, memory
from stable_diffusion.adapters import Adapters, Combination, Layout, layout_of, ranks_of
from stable_diffusion.installed import Folder
from stable_diffusion.json_files import FileError
from stable_diffusion.lora_files import Lora
from stable_diffusion.models import Model
from stable_diffusion.request import InputError, UsedLora

MEMORY_SHARE = 0.1
"""Share of the memory free at the start that LoRAs may take: of the device's, and of the CPU's."""
MOST_PLACES = 64
"""Combinations on the device, whatever memory there is."""
MEGABYTE = 10**6

Key = tuple[tuple[str, float], ...]
"""The hashes and weights of a combination."""


def budget_for(model: Model) -> int:
    """Return the bytes that LoRAs may take on a model's device."""
    unused = memory.free()
    if model.device.type == "cuda":
        unused, _ = torch.cuda.mem_get_info(model.device)
    return int(MEMORY_SHARE * unused)


def of_unet(loras: Combination) -> Combination:
    """Return those of some LoRAs that change the UNet, in an order of their own."""
    changing = [(lora, weight) for lora, weight in loras if lora.unet and weight]
    return sorted(changing, key=lambda each: (each[0].hash, each[1]))


class LoraFiles:
    """The LoRAs of a folder, of which the most recently used ones are kept in memory.

    Files are read in threads of their own, one at a time, so that no step waits for the disk.

    Args:
        folder: None where there is none.
        pipeline: any of diffusers' Stable Diffusion pipelines.
        budget: the bytes that are kept; None goes by the memory that is free. The file that was
            read last is always kept.
    """

    def __init__(self, folder: Folder | None, pipeline: Any, budget: int | None = None) -> None:
        self._folder = folder
        self._pipeline = pipeline
        self._budget = int(MEMORY_SHARE * memory.free()) if budget is None else budget
        self._kept: OrderedDict[str, Lora] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def read(self, used: Sequence[UsedLora]) -> Future[Combination]:
        """Return LoRAs with their weights, as soon as they are read.

        The future has an InputError where a file is gone, has changed or can't be used.
        """
        kept = [self._find(one.hash) for one in used]
        if all(kept):
            future = Future[Combination]()
            future.set_result(
                [(lora, one.weight) for lora, one in zip(kept, used, strict=True) if lora]
            )
            return future
        thread = ThreadPoolExecutor(1, "loras")
        reading = thread.submit(self._read, used)
        thread.shutdown(wait=False)
        return reading

    def _read(self, used: Sequence[UsedLora]) -> Combination:
        with self._reading:
            return [(self._find(one.hash) or self._load(one), one.weight) for one in used]

    def _load(self, used: UsedLora) -> Lora:
        installed = self._folder.files().get(used.name) if self._folder else None
        if not installed:
            raise InputError(f"loras: {used.name} is not installed any more")
        if installed.hash != used.hash:
            raise InputError(f"loras: {used.name} is another file now than when it was asked for")
        try:
            lora = lora_files.load(installed.path, self._pipeline, used.hash)
        except FileError as error:
            reason = str(error).replace(str(installed.path), installed.path.name)
            raise InputError(f"loras: {used.name} can't be used: {reason}") from error
        with self._lock:
            self._kept[used.hash] = lora
            while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self._budget:
                self._kept.popitem(last=False)
        return lora

    def _find(self, digest: str) -> Lora | None:
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
            return self._kept.get(digest)


@dataclass(eq=False)
class Place:
    """The place of a combination on the device.

    slot: where it is now.
    ranks: of the layers that it touches.
    users: the requests that have it.
    """

    slot: int
    ranks: dict[str, int]
    users: int = 0


class Places:
    """The places of combinations on the device, for the thread that takes the steps.

    Args:
        budget: bytes of the tables. While these are moved to larger ones, both are there.
    """

    def __init__(self, adapters: Adapters, budget: int) -> None:
        self._adapters = adapters
        self._budget = budget
        self._places: OrderedDict[Key, Place] = OrderedDict()

    def take(self, combination: Combination) -> Place | None:
        """Return the place of a combination, to be left; None where there is no room now.

        Raises:
            InputError: where it could never have room.
        """
        key = tuple((lora.hash, weight) for lora, weight in combination)
        place = self._places.get(key)
        if not place:
            place = self._make(combination)
            if not place:
                return None
            self._places[key] = place
        self._places.move_to_end(key)
        place.users += 1
        return place

    @property
    def taken(self) -> int:
        """The number of combinations that have a place, whether or not anyone uses them now."""
        return len(self._places)

    @property
    def slots(self) -> int:
        """The number of combinations that the tables have room for as they are."""
        return self._adapters.layout.slots - 1

    def leave(self, place: Place) -> None:
        """Let go of a place; it stays until its room is needed."""
        place.users -= 1

    def _make(self, combination: Combination) -> Place | None:
        ranks = ranks_of(combination)
        rooms = self._rooms(ranks)
        found = next((one for one in rooms if self._adapters.size(one[0]) <= self._budget), None)
        if not found:
            needed = self._adapters.size(layout_of([ranks], 2))
            if needed > self._budget:
                raise InputError(
                    f"loras: they need {-(-needed // MEGABYTE)} MB on the device, and "
                    f"{self._budget // MEGABYTE} MB are set aside for them"
                )
            return None
        layout, kept = found
        if layout is not self._adapters.layout:
            slots = {place.slot: slot for slot, place in enumerate(kept.values(), 1)}
            self._adapters.move(layout, slots)
            for place in kept.values():
                place.slot = slots[place.slot]
        self._places = kept
        taken = {place.slot for place in kept.values()}
        slot = next(slot for slot in range(1, layout.slots) if slot not in taken)
        self._adapters.fill(slot, combination)
        return Place(slot, ranks)

    def _rooms(self, ranks: dict[str, int]) -> Iterator[tuple[Layout, OrderedDict[Key, Place]]]:
        """Yield layouts with room for one more place, and the places that stay, the best first.

        Tables that move cost the graphs that read them. So they only grow while all places can
        stay; then idle places leave, the fewest, for whom the present tables do; and only then
        are there others, which don't become lower in rank without need.
        """
        present = self._adapters.layout
        idle = [key for key, place in self._places.items() if not place.users]
        least = max(0, len(self._places) + 1 - MOST_PLACES)
        choices = [
            OrderedDict((key, place) for key, place in self._places.items() if key not in gone)
            for gone in (idle[:count] for count in range(least, len(idle) + 1))
        ]
        if not choices:
            return
        room = dict(present.ranks)
        has_ranks = all(rank <= room.get(path, 0) for path, rank in ranks.items())
        fitting = [kept for kept in choices if has_ranks and len(kept) + 1 < present.slots]
        if len(fitting) < len(choices):  # not all can stay in these tables
            for slots in _slots(1 + len(choices[0])):
                yield layout_of([room, ranks], max(slots, present.slots)), choices[0]
        for kept in fitting:
            yield present, kept
        for kept in choices:
            needed = [ranks, *(place.ranks for place in kept.values())]
            for lowest in ([room], []):
                for slots in _slots(1 + len(kept)):
                    yield layout_of([*lowest, *needed], slots), kept


def _slots(places: int) -> tuple[int, int]:
    """Return the slots of tables for some places: with some to spare, and without."""
    return 1 + (1 << (places - 1).bit_length()), 1 + places


def _bytes(lora: Lora) -> int:
    layers = [*lora.unet.values(), *lora.text_encoder.values()]
    return sum(layer.down.nbytes + layer.up.nbytes for layer in layers)
