"""Slots of images in flight, and what is sent to the device for a turn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stable_diffusion import schedulers, steps
from stable_diffusion.banks import PADDING, Bank, Kind, Newcomer, Occupant
from stable_diffusion.samplers import NUMBERS, Table, read
from tests.unit.stable_diffusion.test_schedulers import SD

KIND = Kind((4, 8), 77, 0, False)
VALUES = 4 * 4 * 8


def newcomer(seed: int, is_guided: bool = True, device: str = "cpu") -> Newcomer:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    texts = randn(1 + is_guided, 77, 6)
    return Newcomer(randn(VALUES), randn(VALUES), None, None, texts, None, None)


def table_of(name: str, count: int = 5) -> Table:
    table = read(schedulers.make(name, SD, count))
    assert table
    return table


def occupant(slot: int, is_guided: bool = True, name: str = "DDIM") -> Occupant:
    numbers = table_of(name).numbers(7.5 if is_guided else 1)[0]
    return Occupant(slot, numbers, None, is_guided)


def unet(
    sample: torch.Tensor,
    timesteps: torch.Tensor,
    texts: torch.Tensor,
    labels: torch.Tensor | None,
    adapters: torch.Tensor | None = None,
) -> torch.Tensor:
    return torch.tanh(sample)


def test_a_bank_grows_keeps_who_is_there_and_gives_free_slots_again() -> None:
    images = [newcomer(seed) for seed in range(6)]
    bank = Bank(KIND, images[0].texts)
    slots = [bank.join(image) for image in images]
    assert len({*slots, PADDING}) == 7
    for slot, image in zip(slots, images, strict=True):
        assert torch.equal(bank.latents(slot).flatten(), image.latents)
    bank.leave(slots[2])
    assert bank.join(newcomer(9)) == slots[2]
    assert bank.taken == set(slots)


def test_a_slot_that_was_used_remembers_nothing_of_who_had_it() -> None:
    bank = Bank(KIND, newcomer(0).texts)
    slot = bank.join(newcomer(0))
    fresh = steps.take(unet, bank.gather([occupant(slot)]))
    bank.scatter([occupant(slot)], steps.take(unet, bank.gather([occupant(slot)])))
    bank.leave(slot)
    assert bank.join(newcomer(0)) == slot
    assert torch.equal(steps.take(unet, bank.gather([occupant(slot)])), fresh)


def test_rows_are_two_with_guidance_one_without_and_padding_is_nobodys() -> None:
    bank = Bank(KIND, newcomer(0).texts)
    images = [newcomer(0), newcomer(1, is_guided=False), newcomer(2)]
    slots = [bank.join(image) for image in images]
    occupants = [occupant(slots[0]), occupant(slots[1], is_guided=False), occupant(slots[2])]
    batch = bank.gather(occupants)
    assert (batch.rows, len(batch.state)) == (5, 3)
    assert batch.image_of_row.tolist() == [0, 0, 1, 2, 2]
    assert batch.unconditional.tolist() == [0, 2, 3]
    assert batch.conditional.tolist() == [1, 2, 4]
    expected_texts = torch.cat([image.texts for image in images])
    assert torch.equal(batch.texts, expected_texts)
    alone = steps.take(unet, batch)
    padded = bank.gather(occupants, rows=8)
    assert (padded.rows, len(padded.state)) == (8, 8)
    assert padded.image_of_row.tolist()[5:] == [3, 3, 3]
    assert torch.allclose(steps.take(unet, padded)[:3], alone, atol=1e-6)


@pytest.mark.parametrize("most_rows", [1, 2, 3])
def test_a_call_in_parts_gives_what_the_whole_gives(most_rows: int) -> None:
    bank = Bank(KIND, newcomer(0).texts)
    occupants = [occupant(bank.join(newcomer(seed))) for seed in range(3)]
    rows: list[int] = []

    def counted(
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        texts: torch.Tensor,
        labels: torch.Tensor | None,
        adapters: torch.Tensor | None = None,
    ) -> torch.Tensor:
        rows.append(len(sample))
        return unet(sample, timesteps, texts, labels)

    batch = bank.gather(occupants)
    expected = steps.take(unet, batch)
    assert torch.allclose(steps.take(counted, batch, most_rows), expected, atol=1e-6)
    assert max(rows) == most_rows
    assert sum(rows) == 6


class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the tensors that are copied to the meta device, which stands for a GPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {each.device.type for each in args if isinstance(each, torch.Tensor)}
        self.count += given == {"cpu"} and str(getattr(result, "device", "")) == "meta"
        return result


@pytest.mark.parametrize("draws", [False, True])
def test_a_turn_sends_its_numbers_and_its_noise_and_waits_for_nothing(draws: bool) -> None:
    bank = Bank(KIND, newcomer(0, device="meta").texts)
    slots = [bank.join(newcomer(seed, device="meta")) for seed in range(3)]
    noise = torch.zeros(VALUES) if draws else None
    occupants = [Occupant(slot, torch.zeros(NUMBERS), noise, True) for slot in slots]
    with Copies() as copies:
        # The meta device has no numbers: whatever waits for one fails.
        after = steps.take(unet, bank.gather(occupants))
        bank.scatter(occupants, after)
    # The step's numbers; who takes part, before it and after it.
    assert copies.count == 3 + draws
