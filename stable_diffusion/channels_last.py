"""UNets and autoencoders of diffusers that stay channels-last from their first block to their last.

diffusers' blocks and torch's operations convert the layout in two places: torch's group
normalization on CUDA hands back channels-first tensors
(https://github.com/pytorch/pytorch/issues/111824), and `Transformer2DModel` calls `.contiguous()`
on its way out. `keep_channels_last` puts the kernels of `group_norm` in the place of the first, and
leaves out the second. What each residual block adds, one tensor after the other (biases, the time
embedding, its own input), comes along in the kernels that read the tensor anyway.

    probe(device, dtype)                 # raises where the kernels don't run
    patches = keep_channels_last(unet)
    ...
    patches.close()                      # diffusers' own again

The rest keeps the layout by itself: convolutions whose weights are channels-last, nearest-neighbor
upsampling of fewer than 64 rows, padding, concatenation along the channels, sums, and attention,
which reads (rows, pixels, channels): there a channels-last tensor is one that need not be copied.

For inference only, on the current device. What compiles does so at the first call of a model, so
that this call must not be recorded in a CUDA graph.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from stable_diffusion.cache import cache_folder

OLDEST_CAPABILITY = (7, 0)
"""The oldest GPUs that Triton compiles for; on older ones its compiler ends the process."""


class Unsupported(Exception):
    """The kernels can't be used; the message says why."""


def is_supported(device: torch.device) -> bool:
    """Return whether Triton is installed and runs on a device of this type."""
    if find_spec("triton") is None:
        return False
    # On a CPU there is Triton's interpreter, for tests.
    return device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


def probe(device: torch.device, dtype: torch.dtype = torch.float16) -> None:
    """Compile the kernels for a device, and compare their results with torch's.

    What Triton compiles is kept in the folder `triton` of the cache (`cache.cache_folder`), unless
    the environment's `TRITON_CACHE_DIR` names another. Call this before anything else uses Triton.

    Args:
        dtype: float16, bfloat16 or float32.

    Raises:
        Unsupported: when there is no Triton, no GPU or one that is too old for it, when something
            does not compile or run, or when the results are wrong.
    """
    if not is_supported(device):
        raise Unsupported(f"Triton is not installed, or does not run on {device}")
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY:
        name = torch.cuda.get_device_name(device)
        raise Unsupported(f"{name} is too old for Triton: it needs compute capability 7.0")
    os.environ.setdefault("TRITON_CACHE_DIR", str(cache_folder("triton")))
    try:
        difference = _difference_from_torch(device, dtype)
    # Compilers, drivers and caches fail in as many ways as there are of them.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise Unsupported(f"Triton's kernels fail: {type(error).__name__}: {reason}") from error
    # The results are between -4 and 4: roundings, and some more. "Not", for one that is no number.
    if not difference <= 32 * torch.finfo(dtype).eps:
        raise Unsupported(
            f"the results of Triton's kernels differ from torch's by {difference:.3g}"
        )


def keep_channels_last(model: nn.Module) -> ExitStack:
    """Let a UNet2DConditionModel or an AutoencoderKL keep its tensors channels-last.

    Where the kernels can't be used (see `is_supported`) the model stays as it is. Its weights and
    their names stay what they are in any case.

    Returns:
        What `close` puts the model back with: the same model computes both ways, one after the
        other. As a context manager it does so at the end of the block.

    Raises:
        Unsupported: when the model has blocks that Stable Diffusion doesn't have.
    """
    patches = ExitStack()
    if not is_supported(next(model.parameters()).device):
        return patches
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention
    from diffusers.models.autoencoders.vae import Decoder, Encoder
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    with ExitStack() as unless_finished:
        unless_finished.callback(patches.close)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in model.modules():
            if isinstance(module, ResnetBlock2D):
                _check(module)
                _patch(patches, module, "forward", partial(_residual_block, module))
            elif isinstance(module, Transformer2DModel):
                _patch(patches, module.norm, "forward", partial(_normalize, module.norm))
                output = partial(_transformer_output, module)
                _patch(patches, module, "_get_output_for_continuous_inputs", output)
            elif isinstance(module, Attention) and module.group_norm is not None:
                norm = module.group_norm
                _patch(patches, norm, "forward", partial(_normalize, norm))
            elif isinstance(module, (UNet2DConditionModel, Encoder, Decoder)):
                norm, activation = module.conv_norm_out, module.conv_act
                _check_activation(activation)
                _patch(patches, norm, "forward", partial(_normalize, norm, silu=True))
                _patch(patches, activation, "forward", _unchanged)
        if isinstance(model, UNet2DConditionModel):
            _activate_time_embedding_once(patches, model)
        unless_finished.pop_all()
    return patches


def _normalize(
    norm: nn.GroupNorm, x: torch.Tensor, *, shift: torch.Tensor | None = None, silu: bool = False
) -> torch.Tensor:
    """Compute `norm(x + shift)`, followed by SiLU if `silu` is set."""
    from stable_diffusion.group_norm import group_norm

    return group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps, shift=shift, silu=silu)


def _residual_block(block: Any, x: torch.Tensor, temb: torch.Tensor | None = None) -> torch.Tensor:
    """Compute what `ResnetBlock2D.forward` does.

    Args:
        x: (rows, channels, height, width)
        temb: (rows, time embedding's channels): the time embedding, with SiLU applied to it
            already. The autoencoder has none.
    """
    from stable_diffusion.group_norm import add

    hidden = _without_bias(block.conv1, _normalize(block.norm1, x, silu=True))
    shift = block.conv1.bias
    if block.time_emb_proj is not None:
        shift = block.time_emb_proj(temb) + shift
    hidden = _normalize(block.norm2, hidden, shift=shift, silu=True)
    hidden = _without_bias(block.conv2, hidden)
    if block.conv_shortcut is None:
        return add(hidden, block.conv2.bias, x)
    shortcut = _without_bias(block.conv_shortcut, x)
    return add(hidden, block.conv2.bias, shortcut, block.conv_shortcut.bias)


def _without_bias(convolution: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Convolve without the bias, which the next kernel adds: cuDNN takes another pass for it."""
    output: torch.Tensor = convolution._conv_forward(x, convolution.weight, None)
    return output


def _transformer_output(
    transformer: Any,
    hidden_states: torch.Tensor,
    residual: torch.Tensor,
    batch_size: int,
    height: int,
    width: int,
    inner_dim: int,
) -> torch.Tensor:
    """Compute `Transformer2DModel._get_output_for_continuous_inputs`, without a copy.

    Args:
        hidden_states: (rows, pixels, channels)
        residual: (rows, channels, height, width)
    """
    if transformer.use_linear_projection:
        hidden_states = transformer.proj_out(hidden_states)
    hidden_states = hidden_states.reshape(batch_size, height, width, inner_dim).permute(0, 3, 1, 2)
    if not transformer.use_linear_projection:
        hidden_states = transformer.proj_out(hidden_states)
    return hidden_states + residual


def _unchanged(x: torch.Tensor) -> torch.Tensor:
    return x


def _activate_time_embedding_once(patches: ExitStack, unet: Any) -> None:
    """Apply SiLU to the time embedding, labels included, once instead of in every block."""
    if unet.time_embed_act is not None:
        raise Unsupported("the UNet's time embedding has an activation of its own")
    unet.time_embed_act = functional.silu
    patches.callback(setattr, unet, "time_embed_act", None)


def _check(block: Any) -> None:
    """Raise Unsupported for a residual block that `_residual_block` can't compute."""
    _check_activation(block.nonlinearity)
    adds_time = block.time_embedding_norm == "default" and not block.skip_time_act
    if (
        (block.time_emb_proj is not None and not adds_time)
        or block.upsample is not None
        or block.downsample is not None
        or block.output_scale_factor != 1
    ):
        raise Unsupported("the model has residual blocks that Stable Diffusion doesn't have")


def _check_activation(activation: nn.Module) -> None:
    if not isinstance(activation, nn.SiLU):
        raise Unsupported(f"the model's activation is {type(activation).__name__}, not SiLU")


def _patch(patches: ExitStack, owner: nn.Module, name: str, method: Any) -> None:
    """Replace a method of this object until `patches` is closed."""
    setattr(owner, name, method)
    patches.callback(delattr, owner, name)


def _difference_from_torch(device: torch.device, dtype: torch.dtype) -> float:
    """Run the kernels on a small input; return the largest difference from torch's results."""
    from stable_diffusion.group_norm import add, group_norm

    rows, channels, height, width = 2, 64, 5, 7
    x = torch.linspace(-1, 1, rows * channels * height * width, device=device).mul(40).sin()
    x = x.view(rows, channels, height, width).to(dtype)
    weight, bias = torch.linspace(0.5, 1, 2 * channels, device=device, dtype=dtype).view(2, -1)
    shift = torch.linspace(-1, 1, rows * channels, device=device, dtype=dtype).view(rows, channels)
    x = x.contiguous(memory_format=torch.channels_last)
    shifted = x.double() + shift.double()[:, :, None, None]
    expected = functional.group_norm(shifted, 32, weight.double(), bias.double(), 1e-5)
    with torch.inference_mode():
        plain = group_norm(x, 32, weight, bias, 1e-5, shift=shift)
        activated = group_norm(x, 32, weight, bias, 1e-5, shift=shift, silu=True)
        added = add(x.clone(), weight, x, bias)
    differences = (
        plain - expected,
        activated - functional.silu(expected),
        added - (2 * x.double() + (weight + bias).double()[:, None, None]),
    )
    return max(float(difference.abs().max()) for difference in differences)
