"""Rows with different LoRAs in one call of the UNet, against all weights merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from stable_diffusion import adapters, channels_last, tiling
from stable_diffusion.adapters import Adapters, layout_of, ranks_of
from stable_diffusion.lora_files import Lora
from stable_diffusion.models import Model
from tests.support import made_loras
from tests.support.properties import given, settings
from tests.support.properties import strategies as st

Combination = Sequence[tuple[Lora, float]]
CLOSE = 1e-5
"""Of the largest number that the UNet gives."""
PARTS = {
    "attention": ("attn",),
    "with what is beside it": ("attn", "ff.", "proj_in", "proj_out"),
    "LoCon": ("resnets", "downsamplers", "upsamplers", "attn2", "proj_in"),
    "all": ("",),
}


def random_unet(**config: Any) -> Any:
    torch.manual_seed(0)
    small = {
        "block_out_channels": (32, 32, 64),
        "norm_num_groups": 8,
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 16,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }
    with torch.inference_mode(False):
        return diffusers.UNet2DConditionModel(**small | config).eval()


@pytest.fixture(scope="module", params=["demo", "SD 1", "SD 2", "upscaler"])
def unet(request: pytest.FixtureRequest, demo: Model) -> Any:
    """Convolutions before and after its attention, as SD 1 has them, or linear layers."""
    match request.param:
        case "demo":
            return demo.pipeline.unet
        case "SD 1":
            return random_unet()
        case "SD 2":
            return random_unet(use_linear_projection=True, attention_head_dim=(2, 4, 4))
        case _:
            return random_unet(in_channels=7, use_linear_projection=True, num_class_embeds=10)


def inputs(unet: Any, rows: int, side: int = 8) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(rows)
    features = unet.config.cross_attention_dim
    labels = torch.arange(rows) if unet.config.num_class_embeds else None
    return {
        "sample": torch.randn(rows, unet.config.in_channels, side, side, generator=generator),
        "timestep": torch.linspace(10, 900, rows),
        "encoder_hidden_states": torch.randn(rows, 7, features, generator=generator),
        "class_labels": labels,
    }


def called(unet: Any, **given: Any) -> torch.Tensor:
    output: torch.Tensor = unet(**given, return_dict=False)[0]
    return output


def filled(unet: nn.Module, combinations: Sequence[Combination], by_index: bool) -> Adapters:
    """With the combinations in the slots from 1 on."""
    made = Adapters(unet, by_index)
    made.move(layout_of(map(ranks_of, combinations), 1 + len(combinations)), {})
    for slot, combination in enumerate(combinations, 1):
        made.fill(slot, combination)
    return made


def five(unet: nn.Module) -> list[Combination]:
    one, other, whole, convolved = (
        made_loras.lora(unet, seed, rank, parts)
        for seed, (rank, parts) in enumerate(zip((4, 3, 2, 5), PARTS.values(), strict=True))
    )
    return [
        [(one, 1.0)],
        [(other, 0.7)],
        [(whole, -1.0)],
        [(one, 0.5), (whole, 0.3)],
        [(other, -0.4), (convolved, 0.5), (one, 2.0)],
    ]


@pytest.mark.parametrize("by_index", [False, True])
def test_rows_of_one_call_give_what_merged_weights_give(unet: Any, by_index: bool) -> None:
    combinations = five(unet)
    at_hand = filled(unet, combinations, by_index)
    slots = torch.tensor([3, 0, 1, 1, 5, 2, 4, 5])
    given = inputs(unet, len(slots))
    plain = called(unet, **given)
    with at_hand.at_work(slots):
        mixed = called(unet, **given)
    assert torch.equal(mixed[slots == 0], plain[slots == 0])
    for slot, combination in enumerate(combinations, 1):
        expected = called(made_loras.merged(unet, combination), **given)
        assert (mixed - expected)[slots == slot].abs().max() < CLOSE * expected.abs().max()
        assert (mixed - plain)[slots == slot].abs().max() > 1e-2 * plain.abs().max()
    assert torch.equal(called(unet, **given), plain)


WEIGHTS = st.floats(-2, 2, allow_nan=False).map(lambda weight: round(weight, 3))


@settings(max_examples=12)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 4), st.integers(1, 7), st.sampled_from([*PARTS]), WEIGHTS),
            min_size=1,
            max_size=3,
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.booleans(),
)
def test_any_batch_gives_what_merged_weights_give(
    drawn: list[list[tuple[int, int, str, float]]], rows: list[int], by_index: bool
) -> None:
    unet = random_unet()
    combinations = [
        [
            (made_loras.lora(unet, seed, rank, PARTS[parts], size=0.2), weight)
            for seed, rank, parts, weight in some
        ]
        for some in drawn
    ]
    slots = torch.tensor([row % (1 + len(combinations)) for row in rows])
    given = inputs(unet, len(slots), side=4)
    at_hand = filled(unet, combinations, by_index)
    with torch.inference_mode():
        with at_hand.at_work(slots):
            mixed = called(unet, **given)
        for slot, combination in enumerate([(), *combinations]):
            expected = called(made_loras.merged(unet, combination), **given)
            if (slots == slot).any():
                distance = (mixed - expected)[slots == slot].abs().max()
                assert distance < CLOSE * expected.abs().max()


@pytest.mark.parametrize("by_index", [False, True])
def test_edges_that_meet_do_so_with_adapters_too(unet: Any, by_index: bool) -> None:
    combinations = five(unet)[2:4]
    slots, given = torch.tensor([1, 2]), inputs(unet, 2)
    with filled(unet, combinations, by_index).at_work(slots), tiling.wrapped(unet):
        wrapped = called(unet, **given)
    for row, combination in enumerate(combinations):
        merged = made_loras.merged(unet, combination)
        with tiling.wrapped(merged):
            expected = called(merged, **given)[row]
        assert (wrapped[row] - expected).abs().max() < CLOSE * expected.abs().max()


@pytest.mark.parametrize("by_index", [False, True])
def test_convolutions_whose_weights_are_called_directly_have_their_terms(by_index: bool) -> None:
    unet = random_unet(in_channels=7)
    (combination,) = five(unet)[2:3]
    convolution = unet.down_blocks[0].resnets[0].conv1
    x = torch.randn(2, 32, 8, 8).to(memory_format=torch.channels_last)
    with filled(unet, [combination], by_index).at_work(torch.tensor([0, 1])):
        without_bias = channels_last._without_bias(convolution, x)
    plain = channels_last._without_bias(convolution, x)
    changed = made_loras.merged(unet, combination).down_blocks[0].resnets[0].conv1
    assert torch.equal(without_bias[0], plain[0])
    expected = channels_last._without_bias(changed, x)[1]
    assert (without_bias[1] - expected).abs().max() < CLOSE * expected.abs().max()
    assert (expected - plain[1]).abs().max() > 1e-2


def test_layers_that_no_row_touches_are_left_as_they_are() -> None:
    unet = random_unet()
    narrow, wide = (made_loras.lora(unet, 0, 2, PARTS[name]) for name in ("attention", "all"))
    at_hand = filled(unet, [[(narrow, 1.0)], [(wide, 1.0)]], by_index=False)

    def changed() -> int:
        return sum("forward" in layer.__dict__ for layer in unet.modules())

    with at_hand.at_work(torch.tensor([0, 1])):
        assert changed() == len(narrow.unet)
    with at_hand.at_work(torch.tensor([0, 0])):
        assert changed() == 0
    with at_hand.at_work(torch.tensor([2])):
        linear = [path for path in wide.unet if isinstance(unet.get_submodule(path), nn.Linear)]
        assert changed() == len(linear)
    assert changed() == 0


def test_a_call_that_fails_leaves_the_layers_as_they_were() -> None:
    unet = random_unet()
    before = {name: dict(layer.__dict__) for name, layer in unet.named_modules()}
    at_hand = filled(unet, five(unet), by_index=True)
    with pytest.raises(ValueError, match="spoilt"), at_hand.at_work(torch.tensor([1])):
        raise ValueError("spoilt")
    assert {name: dict(layer.__dict__) for name, layer in unet.named_modules()} == before
    assert not adapters.AT_WORK.locked()


@pytest.mark.parametrize("by_index", [False, True])
def test_tables_move_with_what_is_in_them(by_index: bool) -> None:
    unet = random_unet()
    combinations = five(unet)
    at_hand, given = filled(unet, combinations[:2], by_index), inputs(unet, 3)
    with at_hand.at_work(torch.tensor([1, 2, 0])):
        before = called(unet, **given)
    layout = layout_of([ranks_of(combinations[index]) for index in (1, 4)], 3)
    at_hand.move(layout, {2: 1})
    assert at_hand.layout is layout
    at_hand.fill(2, combinations[4])
    with at_hand.at_work(torch.tensor([2, 1, 2])):
        after = called(unet, **given)
    assert (after[1] - before[1]).abs().max() < CLOSE * before.abs().max()
    expected = called(made_loras.merged(unet, combinations[4]), **given)
    assert (after - expected)[0].abs().max() < CLOSE * expected.abs().max()


def test_a_slot_that_was_used_keeps_nothing_of_what_was_there() -> None:
    unet = random_unet()
    large, small = made_loras.lora(unet, 0, 7, ("",)), made_loras.lora(unet, 1, 2)
    at_hand = filled(unet, [[(large, 2.0)]], by_index=True)
    at_hand.fill(1, [(small, 1.0)])
    given = inputs(unet, 1)
    with at_hand.at_work(torch.tensor([1])):
        found = called(unet, **given)
    expected = called(made_loras.merged(unet, [(small, 1.0)]), **given)
    assert (found - expected).abs().max() < CLOSE * expected.abs().max()


def test_the_size_of_tables_is_that_of_their_tensors() -> None:
    unet = random_unet()
    at_hand = filled(unet, five(unet), by_index=False)
    tensors = [each for table in at_hand._tables.values() for each in (table.down, table.up)]
    assert at_hand.size(at_hand.layout) == sum(each.nbytes for each in tensors)
    assert {rank for _, rank in at_hand.layout.ranks} <= {1, 2, 4, 8, 16}
