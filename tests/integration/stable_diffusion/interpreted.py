"""The kernels in Triton's interpreter: `test_channels_last.py` runs this file in such a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from stable_diffusion import channels_last, group_norm
from stable_diffusion.adapters import Adapters, layout_of, ranks_of
from stable_diffusion.channels_last import Unsupported, keep_channels_last, probe
from tests.support import made_loras

assert os.environ["TRITON_INTERPRET"] == "1"
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")

CPU = torch.device("cpu")
VARIANTS: dict[str, dict[str, Any]] = {
    "SD 1": {},
    "SD 2": {"use_linear_projection": True, "attention_head_dim": (2, 4, 4)},
    "inpainting": {"in_channels": 9, "use_linear_projection": True},
    "depth": {"in_channels": 5, "use_linear_projection": True},
    "upscaler": {
        "in_channels": 7,
        "use_linear_projection": True,
        "num_class_embeds": 10,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "only_cross_attention": (True, True, False),
    },
}


def small_unet(**config: Any) -> Any:
    torch.manual_seed(0)
    config = {
        "block_out_channels": (32, 32, 64),
        "norm_num_groups": 8,
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 16,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    } | config
    return with_other_norms(diffusers.UNet2DConditionModel(**config))


def small_vae() -> Any:
    torch.manual_seed(0)
    return with_other_norms(
        diffusers.AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            block_out_channels=(16, 32, 32),
            norm_num_groups=8,
            latent_channels=4,
        )
    )


def with_other_norms(model: Any) -> Any:
    """Norms that are new multiply by one and add nothing: a kernel that forgot to would pass."""
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.normal_(module.weight, 1, 0.5)
            nn.init.normal_(module.bias)
    return model.eval().to(memory_format=torch.channels_last)


def calls(model: Any, rows: int, height: int, width: int) -> dict[str, torch.Tensor]:
    """The results of everything that the model is asked for."""
    generator = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    # Not in inference mode, where a dispatch mode sees `reshape` and not the copy in it.
    with torch.inference_mode(False), torch.no_grad():
        if isinstance(model, diffusers.AutoencoderKL):
            return {
                "encode": model.encode(noise(rows, 3, height, width)).latent_dist.mean,
                "decode": model.decode(noise(rows, 4, height // 4, width // 4)).sample,
            }
        labels = None
        if model.config.num_class_embeds:
            labels = torch.arange(rows)
        latents = noise(rows, model.config.in_channels, height, width)
        timesteps = torch.arange(rows) * 100 + 1
        result = model(latents, timesteps, noise(rows, 7, 16), class_labels=labels)
        return {"noise": result.sample}


MODELS = [
    *(pytest.param(lambda c=config: small_unet(**c), id=name) for name, config in VARIANTS.items()),
    pytest.param(small_vae, id="autoencoder"),
]


def exact(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    shift: torch.Tensor | None,
    silu: bool,
    eps: float = 1e-5,
) -> torch.Tensor:
    """torch's own, in float64."""
    x = x.double()
    if shift is not None:
        x = x + shift.double().view(-1, x.shape[1], *[1] * (x.ndim - 2))
    result = functional.group_norm(x, 32, weight.double(), bias.double(), eps)
    return functional.silu(result) if silu else result


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(shape, generator=generator).to(dtype)
    return x.to(memory_format=torch.channels_last) if x.ndim == 4 else x


@pytest.mark.parametrize(
    ("rows", "channels", "height", "width"),
    [
        (3, 32, 5, 7),
        (5, 96, 3, 3),
        (1, 128, 33, 29),
        (4, 256, 2, 9),
        (2, 320, 9, 11),
        (1, 512, 1, 1),
        (1, 640, 12, 8),
        (2, 960, 3, 5),
        (1, 1280, 1, 3),
        (1, 1920, 3, 3),
        (1, 2560, 3, 2),
    ],
)
def test_it_computes_what_torch_computes(rows: int, channels: int, height: int, width: int) -> None:
    x = normal(rows, channels, height, width)
    weight, bias = normal(2, channels)
    for silu, shift in [(False, None), (True, normal(rows, channels))]:
        result = group_norm.group_norm(x, 32, weight, bias, 1e-5, shift=shift, silu=silu)
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert (result - exact(x, weight, bias, shift, silu)).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [64, 320])
def test_half_precision_is_rounded_once(channels: int, dtype: torch.dtype) -> None:
    x = normal(2, channels, 5, 3, dtype=dtype) * 30
    weight, bias, shift = normal(3, channels, dtype=dtype)
    result = group_norm.group_norm(x, 32, weight, bias, 1e-5, shift=shift, silu=True)
    assert result.dtype == dtype
    expected = exact(x, weight, bias, shift, True)
    # The interpreter cuts bfloat16 off where a GPU rounds.
    unit = torch.finfo(dtype).eps * (1 if dtype == torch.bfloat16 else 0.5)
    assert ((result - expected).abs() <= 1.01 * unit * expected.abs() + 1e-5).all()


def test_eps_counts_where_there_is_no_variance() -> None:
    x = normal(1, 64, 3, 3) * 1e-3
    weight, bias = normal(2, 64)
    for eps in (1e-6, 1e-5, 1.0):
        result = group_norm.group_norm(x, 32, weight, bias, eps)
        assert (result - exact(x, weight, bias, None, False, eps)).abs().max() < 1e-5
    alike = group_norm.group_norm(torch.ones_like(x), 32, weight, bias, 1e-6)
    assert torch.equal(alike, bias[None, :, None, None].expand_as(x))


def test_a_mean_that_is_large_beside_the_deviation_costs_no_digits() -> None:
    # By a sum of squares in float32 the variance would be wrong by a twentieth.
    x = normal(2, 64, 20, 20) + 1000
    weight, bias = normal(2, 64)
    result = group_norm.group_norm(x, 32, weight, bias, 1e-5)
    assert (result - exact(x, weight, bias, None, False)).abs().max() < 0.001


def test_a_row_in_more_blocks_than_there_are_chunks() -> None:
    x = normal(1, 32, 190, 173) + torch.linspace(0, 5, 190)[:, None]
    tiling = group_norm.Tiling.of(32, 32, 190 * 173)
    assert tiling.pixels_per_chunk > tiling.block_pixels
    weight, bias = normal(2, 32)
    result = group_norm.group_norm(x, 32, weight, bias, 1e-5, silu=True)
    assert (result - exact(x, weight, bias, None, True)).abs().max() < 1e-5


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    x, shift = normal(5, 96, 9, 31), normal(5, 96)
    weight, bias = normal(2, 96)
    together = group_norm.group_norm(x, 32, weight, bias, 1e-5, shift=shift, silu=True)
    for row in range(5):
        part = slice(row, row + 1)
        alone = group_norm.group_norm(x[part], 32, weight, bias, 1e-5, shift=shift[part], silu=True)
        assert torch.equal(alone, together[part])


def test_it_takes_other_layouts_and_keeps_those_of_attention() -> None:
    weight, bias = normal(2, 64)
    x = normal(2, 64, 5, 7)
    expected = group_norm.group_norm(x, 32, weight, bias, 1e-5)
    assert torch.equal(group_norm.group_norm(x.contiguous(), 32, weight, bias, 1e-5), expected)
    sequence = group_norm.group_norm(x.view(2, 64, 35), 32, weight, bias, 1e-5)
    assert torch.equal(sequence, expected.view(2, 64, 35))
    assert sequence.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [32, 320])
def test_sums_with_biases(channels: int, dtype: torch.dtype) -> None:
    x, y = normal(2, 2, channels, 9, 11, dtype=dtype)
    x, y = x.to(memory_format=torch.channels_last), y.to(memory_format=torch.channels_last)
    bias, other_bias = normal(2, channels, dtype=dtype)
    for second in (None, other_bias):
        result = group_norm.add(x.clone(), bias, y, second)
        expected = x.double() + y.double() + bias.double()[:, None, None]
        if second is not None:
            expected += second.double()[:, None, None]
        assert (result - expected).abs().max() <= torch.finfo(dtype).eps * expected.abs().max()
        assert result.is_contiguous(memory_format=torch.channels_last)


def test_gradients_are_refused() -> None:
    with torch.inference_mode(False), torch.enable_grad():
        x = normal(1, 64, 3, 3).requires_grad_()
        weight, bias = normal(2, 64)
        with pytest.raises(RuntimeError, match="no gradient"):
            group_norm.group_norm(x, 32, weight, bias, 1e-5)
        with pytest.raises(RuntimeError, match="no gradient"):
            group_norm.add(x, bias, x)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("size", [(8, 12), (8, 8)])
def test_a_model_computes_what_it_did_in_one_layout_and_is_put_back(
    make: Any, size: tuple[int, int]
) -> None:
    model = make()
    names = list(model.state_dict())
    attributes = [set(vars(module)) for module in model.modules()]
    plain = calls(model, 2, *size)
    with keep_channels_last(model), layouts(model) as seen:
        kept = calls(model, 2, *size)
        assert list(model.state_dict()) == names
    assert len(seen) > 30
    assert not [module for module, is_channels_last in seen if not is_channels_last]
    for name, result in kept.items():
        assert (result - plain[name]).abs().max() < 2e-5, name
        assert not torch.equal(result, plain[name]), "nothing was changed"
    assert [set(vars(module)) for module in model.modules()] == attributes
    again = calls(model, 2, *size)
    assert all(torch.equal(again[name], plain[name]) for name in plain)


@contextmanager
def layouts(model: nn.Module) -> Iterator[list[tuple[nn.Module, bool]]]:
    """Whether each picture that a module hands on is channels-last."""
    seen = []

    def look(module: nn.Module, _: Any, output: Any) -> None:
        for tensor in output if isinstance(output, tuple) else (output,):
            if isinstance(tensor, torch.Tensor) and tensor.ndim == 4:
                is_channels_last = tensor.is_contiguous(memory_format=torch.channels_last)
                seen.append((module, is_channels_last))

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    yield seen
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("make", [MODELS[0], MODELS[1], MODELS[-1]])
def test_no_tensor_of_a_model_is_copied(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter copies what it is given: torch stands for the kernels here.
    monkeypatch.setattr(group_norm, "group_norm", group_norm_of_torch)
    monkeypatch.setattr(group_norm, "add", add_of_torch)
    model = make()
    with keep_channels_last(model), Copies() as copies:
        calls(model, 2, 8, 12)
    assert not copies.shapes
    with Copies() as copies:
        calls(model, 2, 8, 12)
    assert copies.shapes or isinstance(model, diffusers.AutoencoderKL)


class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the pictures, or sequences of pixels, that operations copy as they are."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (
            torch.ops.aten.clone,
            torch.ops.aten.copy_,
            torch.ops.aten._to_copy,
        ):
            self.shapes += [tuple(args[0].shape)] if args[0].ndim >= 3 else []
        return func(*args, **kwargs or {})


def group_norm_of_torch(
    x: torch.Tensor,
    groups: int,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    *,
    shift: torch.Tensor | None = None,
    silu: bool = False,
) -> torch.Tensor:
    assert x.movedim(1, -1).is_contiguous(), "the kernel would convert this"
    if shift is not None:
        x = x + shift.view(-1, x.shape[1], 1, 1)
    picture = x.view(*x.shape[:2], -1, 2) if x.ndim == 3 else x
    result = functional.group_norm(picture, groups, weight, bias, eps).view_as(x)
    return functional.silu(result) if silu else result


def add_of_torch(
    x: torch.Tensor, bias: torch.Tensor, y: torch.Tensor, y_bias: torch.Tensor | None = None
) -> torch.Tensor:
    for tensor in (x, y):
        assert tensor.movedim(1, -1).is_contiguous(), "the kernel would convert this"
    return x + y + (bias if y_bias is None else bias + y_bias)[:, None, None]


@pytest.mark.parametrize("by_index", [False, True])
@pytest.mark.parametrize("variant", ["SD 1", "SD 2"])
def test_rows_with_adapters_compute_what_merged_weights_do(variant: str, by_index: bool) -> None:
    unet = small_unet(**VARIANTS[variant])
    combination = [(made_loras.lora(unet, 0, 2, ("",), size=0.2), 0.7)]
    merged = made_loras.merged(unet, combination)
    at_hand = Adapters(unet, by_index)
    at_hand.move(layout_of([ranks_of(combination)], 2), {})
    at_hand.fill(1, combination)
    expected = calls(merged, 2, 8, 8)["noise"]
    with keep_channels_last(unet):
        plain = calls(unet, 2, 8, 8)["noise"]
        with at_hand.at_work(torch.tensor([1, 0])):
            found = calls(unet, 2, 8, 8)["noise"]
    assert (found - expected)[0].abs().max() < 1e-4 * expected.abs().max()
    assert torch.equal(found[1], plain[1])
    assert (plain - expected)[0].abs().max() > 1e-2 * expected.abs().max()


def test_the_trial_passes() -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        probe(CPU, dtype)


def test_the_trial_finds_kernels_that_compute_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = group_norm.group_norm
    with monkeypatch.context() as patch:
        patch.setattr(group_norm, "group_norm", lambda *a, **k: kernel(*a, **k) * 1.1)
        with pytest.raises(Unsupported, match="differ from torch's by"):
            probe(CPU)
    with monkeypatch.context() as patch:
        patch.setattr(group_norm, "group_norm", lambda *a, **k: kernel(*a, **k) * float("nan"))
        with pytest.raises(Unsupported, match="differ from torch's by nan"):
            probe(CPU)


def test_the_trial_says_why_something_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("ptxas knows no sm_12\n34")

    monkeypatch.setattr(group_norm, "group_norm", fails)
    with pytest.raises(Unsupported, match="kernels fail: ValueError: ptxas knows no sm_12 34$"):
        probe(CPU)


@contextmanager
def as_it_was(model: Any) -> Iterator[None]:
    attributes = [set(vars(module)) for module in model.modules()]
    yield
    assert [set(vars(module)) for module in model.modules()] == attributes


@pytest.mark.parametrize(
    "config",
    [
        {"act_fn": "gelu"},
        {"resnet_time_scale_shift": "scale_shift"},
        {"mid_block_scale_factor": 2.0},
        {"time_embedding_act_fn": "silu"},
        {"down_block_types": ["ResnetDownsampleBlock2D"] * 3},
        {"up_block_types": ["ResnetUpsampleBlock2D"] * 3},
    ],
)
def test_a_model_that_is_built_in_another_way_is_left_as_it_is(config: dict[str, Any]) -> None:
    model = small_unet(**config)
    with as_it_was(model), pytest.raises(Unsupported):
        keep_channels_last(model)


def test_a_block_that_applies_no_silu_to_its_time_embedding_is_refused() -> None:
    model = small_unet()
    model.mid_block.resnets[0].skip_time_act = True
    with as_it_was(model), pytest.raises(Unsupported):
        keep_channels_last(model)


def test_where_triton_is_missing_a_model_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels_last, "find_spec", lambda _: None)
    model = small_unet()
    with as_it_was(model):
        keep_channels_last(model)
    with pytest.raises(Unsupported, match="not installed"):
        probe(CPU)
