"""LoRAs' files and their places on the device, with a model of two layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from stable_diffusion import lora_files, loras
from stable_diffusion.adapters import Adapters, layout_of
from stable_diffusion.installed import Folder
from stable_diffusion.json_files import FileError
from stable_diffusion.lora_files import Lora, LoraLayer
from stable_diffusion.loras import LoraFiles, Place, Places
from stable_diffusion.request import InputError, UsedLora
from tests.support.properties import given
from tests.support.properties import strategies as st

SLOT = 4 * (3 + 3) + 4 * (3 + 5)
"""Bytes of a slot of rank 1: float32, of three inputs, and of three and five outputs."""


def two_layers() -> nn.Module:
    return nn.ModuleDict({"first": nn.Linear(3, 3), "second": nn.Linear(3, 5)})


def lora(seed: int, rank: int = 1) -> Lora:
    generator = torch.Generator().manual_seed(seed)

    def layer(out: int) -> LoraLayer:
        down = torch.randn(rank, 3, generator=generator)
        return LoraLayer(down, torch.randn(out, rank, generator=generator), 0.5)

    return Lora({"first": layer(3), "second": layer(5)}, {}, hash=f"{seed:03}-{rank}")


def places(slots: int, rank: int = 1) -> tuple[Places, Adapters]:
    """With room for so many."""
    adapters = Adapters(two_layers(), by_index=False)
    return Places(adapters, slots * rank * SLOT), adapters


def has(adapters: Adapters, place: Place | None, combination: Sequence[tuple[Lora, float]]) -> bool:
    """Whether a place adds what a combination adds."""
    assert place
    layer, x = adapters._unet["first"], torch.ones(1, 3)  # type: ignore[index]
    plain = layer(x)
    with adapters.at_work(torch.tensor([place.slot])):
        added = layer(x) - plain
    parts = [(one.unet["first"], weight) for one, weight in combination]
    expected = sum(weight * one.scale * x @ (one.up @ one.down).T for one, weight in parts)
    return torch.allclose(added, torch.as_tensor(expected), atol=1e-5)


def test_a_combination_has_one_place_whoever_uses_it() -> None:
    made, adapters = places(4)
    first = made.take([(lora(1), 0.5)])
    assert first is made.take([(lora(1), 0.5)])
    other = made.take([(lora(1), 0.7)])
    assert other is not first
    assert has(adapters, first, [(lora(1), 0.5)])
    assert has(adapters, other, [(lora(1), 0.7)])


def test_the_order_in_which_loras_are_asked_for_makes_no_difference() -> None:
    none = Lora({}, {}, hash="0")
    asked = [(lora(2), 1.0), (none, 1.0), (lora(1), 0.5), (lora(3), 0.0)]
    hashes = [(one.hash, weight) for one, weight in loras.of_unet(asked)]
    assert hashes == [("001-1", 0.5), ("002-1", 1.0)]
    assert hashes == [(one.hash, weight) for one, weight in loras.of_unet(asked[::-1])]


def test_the_least_recently_used_leave_when_room_is_needed() -> None:
    made, adapters = places(2)
    first, second = made.take([(lora(1), 1)]), made.take([(lora(2), 1)])
    assert first
    assert second
    made.leave(first)
    made.leave(second)
    assert made.take([(lora(1), 1)]) is first
    made.leave(first)
    layout = adapters.layout
    third = made.take([(lora(3), 1)])
    assert adapters.layout is layout  # its slot was free, and nothing has moved
    assert third
    assert third.slot == second.slot
    assert made.take([(lora(1), 1)]) is first
    assert has(adapters, first, [(lora(1), 1)])
    assert has(adapters, third, [(lora(3), 1)])


def test_what_is_in_use_stays_and_others_wait() -> None:
    made, adapters = places(2)
    first, second = made.take([(lora(1), 1)]), made.take([(lora(2), 1)])
    assert made.take([(lora(3), 1)]) is None
    assert made.take([(lora(2), 1)]) is second
    assert first
    made.leave(first)
    third = made.take([(lora(3), 1)])
    assert has(adapters, second, [(lora(2), 1)])
    assert has(adapters, third, [(lora(3), 1)])


def test_there_are_no_more_places_than_that_however_much_memory_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loras, "MOST_PLACES", 3)
    made, adapters = places(1000)
    first, second, third = (made.take([(lora(number), 1)]) for number in range(3))
    assert first
    assert made.take([(lora(4), 1)]) is None
    made.leave(first)
    assert has(adapters, made.take([(lora(4), 1)]), [(lora(4), 1)])
    assert has(adapters, second, [(lora(1), 1)])
    assert has(adapters, third, [(lora(2), 1)])
    assert adapters.layout.slots <= 5


def test_what_could_never_have_room_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loras, "MEGABYTE", 1)
    made, _ = places(1)
    assert made.take([(lora(1), 1)])
    expected = rf"loras: they need {2 * SLOT} MB on the device, and {SLOT} MB are set aside"
    with pytest.raises(InputError, match=expected):
        made.take([(lora(2, rank=2), 1)])


@pytest.mark.parametrize("by_index", [False, True])
def test_nobodys_slot_takes_room_only_where_it_is_read(by_index: bool) -> None:
    adapters = Adapters(two_layers(), by_index)
    made = Places(adapters, (1 + by_index) * SLOT)
    place = made.take([(lora(1), 1)])
    assert has(adapters, place, [(lora(1), 1)])
    assert adapters.size(adapters.layout) == made._budget
    made = Places(Adapters(two_layers(), by_index), (1 + by_index) * SLOT - 1)
    with pytest.raises(InputError, match="loras: they need"):
        made.take([(lora(1), 1)])


def used_and_left(made: Places, *combinations: Sequence[tuple[Lora, float]]) -> list[Place]:
    taken = [made.take(combination) for combination in combinations]
    left = [place for place in taken if place]
    assert len(left) == len(combinations)
    for place in left:
        made.leave(place)
    return left


def test_tables_stay_where_they_are_while_idle_places_can_leave_them() -> None:
    made, adapters = places(3, rank=4)
    used_and_left(made, *([(lora(seed, rank=4), 1.0)] for seed in range(3)))
    layout = adapters.layout
    # As soon as the first three have left, tables of rank 1 would have room for more.
    for seed in range(3, 9):
        combination = [(lora(seed, rank=1), 1.0)]
        (place,) = used_and_left(made, combination)
        assert adapters.layout is layout
        assert has(adapters, place, combination)
    assert [key[0][0] for key in made._places] == ["006-1", "007-1", "008-1"]


def test_the_fewest_leave_and_the_tables_keep_their_ranks_while_they_can() -> None:
    made, adapters = places(4, rank=4)
    used_and_left(made, *([(lora(seed, rank=2), 1.0)] for seed in range(5)))
    assert adapters.layout.slots == 1 + 8
    used_and_left(made, [(lora(5, rank=4), 1.0)])
    assert adapters.layout == layout_of([{"first": 4, "second": 4}], 1 + 4)
    assert [key[0][0] for key in made._places] == ["002-2", "003-2", "004-2", "005-4"]
    # More are in use at once than there is room for in tables of these ranks.
    taken = [made.take([(lora(seed, rank=1), 1.0)]) for seed in range(5)]
    assert all(taken)
    assert dict(adapters.layout.ranks) == {"first": 1, "second": 1}
    assert all(has(adapters, place, [(lora(seed), 1.0)]) for seed, place in enumerate(taken))


def test_tables_grow_while_all_can_stay_and_are_not_made_lower_by_it() -> None:
    made, adapters = places(8, rank=4)
    used_and_left(made, [(lora(0, rank=4), 1.0)], [(lora(1), 1.0)], [(lora(2), 1.0)])
    assert len(made._places) == 3
    assert adapters.layout == layout_of([{"first": 4, "second": 4}], 1 + 4)


@pytest.mark.parametrize("method", ["move", "fill"])
def test_memory_that_is_short_costs_no_place_that_is_in_use(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    made, adapters = places(4)
    first = made.take([(lora(1), 1.0)])

    def short(*_: object) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patched:
        patched.setattr(adapters, method, short)
        with pytest.raises(torch.OutOfMemoryError):
            made.take([(lora(2), 1.0)])
    assert has(adapters, made.take([(lora(2), 1.0)]), [(lora(2), 1.0)])
    assert made.take([(lora(1), 1.0)]) is first
    assert has(adapters, first, [(lora(1), 1.0)])


def test_tables_grow_and_keep_what_is_there() -> None:
    made, adapters = places(8, rank=4)
    combinations = [[(lora(seed, rank=1 + seed % 4), 1.0)] for seed in range(8)]
    taken = [made.take(combination) for combination in combinations]
    assert all(map(has, [adapters] * 8, taken, combinations))
    slots = [place.slot for place in taken if place]
    assert len({*slots, 0}) == 9


@given(
    st.integers(1, 5),
    st.lists(
        st.one_of(
            st.tuples(st.just("take"), st.integers(0, 5), st.integers(1, 4)),
            st.tuples(st.just("leave"), st.integers(0, 9), st.just(0)),
        ),
        max_size=25,
    ),
)
def test_places_in_use_are_never_lost_and_the_budget_holds(
    slots: int, asked: list[tuple[str, int, int]]
) -> None:
    made, adapters = places(slots, rank=4)
    used: list[tuple[Place, list[tuple[Lora, float]]]] = []
    for what, number, rank in asked:
        if what == "leave" and used:
            made.leave(used.pop(number % len(used))[0])
        elif what == "take":
            combination = [(lora(number, rank), 1.0)]
            if place := made.take(combination):
                used.append((place, combination))
            else:
                ranks = [place.ranks for place in {id(one): one for one, _ in used}.values()]
                wanted = dict.fromkeys(("first", "second"), rank)
                least = layout_of([*ranks, wanted], len(ranks) + 2)
                assert adapters.size(least) > made._budget
        assert adapters.size(adapters.layout) <= made._budget
        assert all(has(adapters, place, combination) for place, combination in used)
        slots_used = {place.slot for place, _ in used}
        assert len(slots_used) == len({id(place) for place, _ in used})
        assert 0 not in slots_used


def used(name: str, file: Path) -> UsedLora:
    installed = Folder(file.parent, (".safetensors",), lambda _: None).files()[name]
    return UsedLora(name, installed.hash, 0.5)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A folder with two, the reader of them, and the names of those that were read."""
    read: list[str] = []

    def load(path: Path, _: Any, expected: str) -> Lora:
        read.append(path.stem)
        if path.read_text() == "broken":
            raise FileError(f"{path} is broken")
        return Lora(lora(len(read)).unet, {}, hash=expected)

    monkeypatch.setattr(lora_files, "load", load)
    for name in ("one", "other"):
        (tmp_path / f"{name}.safetensors").write_text(name)
    folder = Folder(tmp_path, (".safetensors",), lambda _: None)
    both = {name: used(name, tmp_path / f"{name}.safetensors") for name in ("one", "other")}
    return SimpleNamespace(path=tmp_path, folder=folder, read=read, **both)


def test_a_file_is_read_once_while_it_is_kept(files: SimpleNamespace) -> None:
    reader = LoraFiles(files.folder, None, budget=10**6)
    (first, weight), (second, _) = reader.read([files.one, files.other]).result(30)
    assert weight == 0.5
    again = reader.read([files.other, files.one])
    assert again.done()
    assert [each for each, _ in again.result()] == [second, first]
    assert files.read == ["one", "other"]


def test_the_least_recently_used_are_forgotten_over_the_budget(files: SimpleNamespace) -> None:
    reader = LoraFiles(files.folder, None, budget=SLOT)
    for asked in (files.one, files.other, files.other, files.one):
        reader.read([asked]).result(30)
    assert files.read == ["one", "other", "one"]


def test_a_file_that_is_gone_changed_or_broken_is_refused_by_name(files: SimpleNamespace) -> None:
    reader = LoraFiles(files.folder, None)
    (files.path / "one.safetensors").unlink()
    with pytest.raises(InputError, match="loras: one is not installed any more"):
        reader.read([files.one]).result(30)
    (files.path / "other.safetensors").write_text("changed")
    with pytest.raises(InputError, match="loras: other is another file now"):
        reader.read([files.other]).result(30)
    (files.path / "other.safetensors").write_text("broken")
    asked = used("other", files.path / "other.safetensors")
    with pytest.raises(InputError, match="loras: other can't be used: other.safetensors is broken"):
        reader.read([asked]).result(30)
    with pytest.raises(InputError, match="loras: one is not installed"):
        LoraFiles(None, None).read([files.one]).result(30)
