"""LoRAs of different rows in one call of the UNet: low-rank terms, row by row, nothing merged.

The LoRAs that one request uses, with their weights, are a combination, and a combination has a
slot in tables on the device: for each layer that any of them touches, `down` and `up`, the ranks of
its LoRAs one after the other. A row's term is `up[slot] @ (down[slot] @ x)`; slot 0 is nobody's and
adds nothing: it is in the tables only where it is read. Ranks are padded, so that a call has one
shape whoever is in it, and can be replayed.

Layers are changed for the time of a call with adapters, and no other call knows of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from stable_diffusion.lora_files import Lora

NONE = 0
"""The slot of rows without an adapter."""

AT_WORK = threading.Lock()
"""The lock for calls with adapters: whoever copies the UNet meanwhile would copy them with it."""

Combination = Sequence[tuple[Lora, float]]
"""LoRAs with their weights, in the order in which their ranks follow each other."""
Run = tuple[int, slice]
"""A slot, and rows one after the other that have it."""


@dataclass(frozen=True)
class Layout:
    """The shape of the tables.

    slots: that of nobody included.
    ranks: a power of two for each layer that is touched, by its path in the UNet.
    """

    slots: int
    ranks: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Table:
    """The terms of one layer, in its precision and on its device.

    down: (indices, rank, in), of a convolution (indices, rank, in, height, width).
    up: (indices, out, rank), with the LoRAs' scales and weights in it.
    """

    layer: nn.Linear | nn.Conv2d
    down: torch.Tensor
    up: torch.Tensor


def ranks_of(combination: Combination) -> dict[str, int]:
    """Return the ranks of a combination, for each layer that it touches."""
    ranks: dict[str, int] = {}
    for lora, _ in combination:
        for path, layer in lora.unet.items():
            ranks[path] = ranks.get(path, 0) + layer.rank
    return ranks


def layout_of(ranks: Iterable[Mapping[str, int]], slots: int) -> Layout:
    """Return the layout that has room for combinations of some ranks, with a number of slots."""
    most: dict[str, int] = {}
    for path, rank in (item for each in ranks for item in each.items()):
        most[path] = max(most.get(path, 1), 1 << (rank - 1).bit_length())
    return Layout(slots, tuple(sorted(most.items())))


class Adapters:
    """The tables of a UNet, and its calls with them.

    Args:
        by_index: whether rows find their slots on the device, so that a call can be captured and
            replayed; else each call computes what its rows need and no more, which is less.
    """

    def __init__(self, unet: nn.Module, by_index: bool) -> None:
        self._unet = unet
        self._by_index = by_index
        self._first = NONE if by_index else NONE + 1
        """The slot at index 0 of the tables: nobody's takes memory only where it is read."""
        self._tables: dict[str, Table] = {}
        self._ranks: dict[int, dict[str, int]] = {}
        self.layout = Layout(1, ())
        """Another object as soon as the tables are elsewhere."""

    def size(self, layout: Layout) -> int:
        """Return the bytes of tables in a layout."""
        values = 0
        for path, rank in layout.ranks:
            weight = self._layer(path).weight
            values += rank * (weight[0].numel() + len(weight)) * weight.element_size()
        return (layout.slots - self._first) * values

    def move(self, layout: Layout, slots: Mapping[int, int]) -> None:
        """Make tables in another layout; the present ones stay where there is no memory for them.

        Args:
            slots: the new ones of those whose contents are kept, by the present ones.
        """
        tables = {path: self._empty(path, rank, layout.slots) for path, rank in layout.ranks}
        for path, table in tables.items():
            for before, after in slots.items():
                if rank := self._ranks[before].get(path, 0):
                    source, target = before - self._first, after - self._first
                    table.down[target, :rank] = self._tables[path].down[source, :rank]
                    table.up[target, :, :rank] = self._tables[path].up[source, :, :rank]
        self._ranks = {after: self._ranks[before] for before, after in slots.items()}
        self._tables, self.layout = tables, layout

    def fill(self, slot: int, combination: Combination) -> None:
        """Put a combination, for which there is room, into a slot; drop what was there."""
        self._ranks[slot] = ranks_of(combination)
        index = slot - self._first
        for path, table in self._tables.items():
            table.down[index], table.up[index] = 0, 0
            used = 0
            for lora, weight in combination:
                if layer := lora.unet.get(path):
                    place = slice(used, used := used + layer.rank)
                    up = layer.up.to(table.up.device, torch.float32)
                    table.down[index, place] = layer.down.to(table.down.device)
                    table.up[index, :, place] = up * (layer.scale * weight)

    @contextmanager
    def at_work(self, rows: torch.Tensor) -> Iterator[None]:
        """Let the UNet's layers add the terms of rows, for the time of a block.

        Args:
            rows: (rows,), int64, the slot of each.
        """
        with AT_WORK:
            changed = list[tuple[nn.Module, str]]()
            try:
                for layer, add in self._terms(rows):
                    # A convolution is also called without its bias, past its `forward`.
                    name = "forward" if isinstance(layer, nn.Linear) else "_conv_forward"
                    setattr(layer, name, partial(_with_term, getattr(layer, name), add))
                    changed.append((layer, name))
                yield
            finally:
                for layer, name in changed:
                    delattr(layer, name)

    def _terms(
        self, rows: torch.Tensor
    ) -> Iterator[tuple[nn.Module, Callable[[torch.Tensor, torch.Tensor], None]]]:
        """Yield the layers that the rows touch, with what adds their terms in place."""
        if self._by_index:
            for table in self._tables.values():
                yield table.layer, partial(_add_by_index, table, rows)
            return
        runs = list(_runs(rows.tolist()))
        for path, table in self._tables.items():
            touching = [
                (slot - self._first, rank, some)
                for slot, some in runs
                if (rank := self._ranks[slot].get(path))
            ]
            if touching:
                yield table.layer, partial(_add_by_runs, table, touching)

    def _empty(self, path: str, rank: int, slots: int) -> Table:
        layer = self._layer(path)
        out, *rest = layer.weight.shape
        down, up = (
            layer.weight.new_zeros(slots - self._first, rank, *rest),
            layer.weight.new_zeros(slots - self._first, out, rank),
        )
        return Table(layer, down, up)

    def _layer(self, path: str) -> nn.Linear | nn.Conv2d:
        layer = self._unet.get_submodule(path)
        assert isinstance(layer, (nn.Linear, nn.Conv2d)), path
        return layer


def _with_term(
    plain: Callable[..., torch.Tensor],
    add: Callable[[torch.Tensor, torch.Tensor], None],
    x: torch.Tensor,
    *rest: Any,
) -> torch.Tensor:
    """Compute what a layer does, and add a term to it."""
    y = plain(x, *rest)
    add(x, y)
    return y


def _runs(slots: list[int]) -> Iterator[Run]:
    """Yield the runs of rows that have an adapter."""
    start = 0
    for slot, same in groupby(slots):
        end = start + len(list(same))
        if slot != NONE:
            yield slot, slice(start, end)
        start = end


def _add_by_runs(
    table: Table, runs: list[tuple[int, int, slice]], x: torch.Tensor, y: torch.Tensor
) -> None:
    """Add the terms of some rows, each run by itself, in the rank that it has.

    Args:
        runs: index in the table, rank and rows of each.
        x, y: (rows, …): what the layer was given, and what it gave.
    """
    if isinstance(table.layer, nn.Linear):
        for index, rank, rows in runs:
            inner = functional.linear(x[rows], table.down[index, :rank])
            y[rows] += functional.linear(inner, table.up[index, :, :rank])
        return
    x, padding = _padded(table.layer, x)
    for index, rank, rows in runs:
        inner = functional.conv2d(
            x[rows], table.down[index, :rank], None, table.layer.stride, padding
        )
        y[rows] += functional.conv2d(inner, table.up[index, :, :rank, None, None])


def _add_by_index(table: Table, rows: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> None:
    """Add the terms of all rows at once.

    Args:
        rows: (rows,), int64, the slot of each.
        x, y: (rows, …): what the layer was given, and what it gave.
    """
    down, up = table.down[rows], table.up[rows]
    if isinstance(table.layer, nn.Linear):
        tokens = x if x.dim() == 3 else x[:, None]
        term = torch.bmm(torch.bmm(tokens, down.transpose(1, 2)), up.transpose(1, 2))
        y += term.view(y.shape)
        return
    if table.layer.kernel_size == (1, 1) and table.layer.stride == (1, 1):
        inner = torch.bmm(down.flatten(2), x.flatten(2))
    else:
        x, padding = _padded(table.layer, x)
        count, _, *sides = x.shape
        together = functional.conv2d(
            x.reshape(1, -1, *sides),
            down.flatten(0, 1),
            None,
            table.layer.stride,
            padding,
            groups=count,
        )
        inner = together.view(*down.shape[:2], -1)
    y += torch.bmm(up, inner).view(y.shape)


def _padded(layer: nn.Conv2d, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """Return what a convolution pads by its mode, with the padding that is left to do."""
    if layer.padding_mode == "zeros":
        return x, layer.padding
    margins = layer._reversed_padding_repeated_twice
    return functional.pad(x, margins, mode=layer.padding_mode), 0
