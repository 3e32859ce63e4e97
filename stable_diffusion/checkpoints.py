"""Original checkpoints: a model in one file, in the layout of CompVis and Stability AI."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_diffusion import weight_files
from stable_diffusion.json_files import FileError, error_text
from stable_diffusion.weight_files import Table

if TYPE_CHECKING:
    import torch

ORIGINAL = Path(__file__).parent.parent / "weights" / "original"
"""The folder of the configurations, which checkpoint files don't contain."""
SUFFIXES = (".ckpt", ".safetensors")
UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT_ENCODERS = {"cond_stage_model.transformer.": "v1", "cond_stage_model.model.": "v2"}
"""The architecture by the beginning of the text encoder's names: v1 has CLIP, v2 OpenCLIP."""
CHANNELS = {"v1": (4, 9), "v2": (4, 9), "x4-upscaler": (7,)}
FOREIGN = {
    "lora_": "a LoRA: give a checkpoint of a whole model",
    "conditioner.embedders.": "Stable Diffusion XL: give a checkpoint of version 1 or 2",
    "depth_model.": "the depth model of Stable Diffusion 2, whose depth estimator can't be read "
    "from this layout: run scripts/download-weights stable-diffusion-2-depth",
    UNET + "label_emb.0.": "Stable Diffusion unCLIP: give a checkpoint for text to image",
    "control_model.": "a ControlNet: give a checkpoint of Stable Diffusion itself",
    "down_blocks.": "one part of a model in diffusers' layout: give the folder that has its "
    "model_index.json",
}
"""Descriptions of files that can't be served, by the beginnings of their tensors' names."""
FIRST = UNET + "input_blocks.0.0.weight"
CLIP = "cond_stage_model.transformer."
VAE_ATTENTION = {
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "group_norm": "norm",
    "query": "q",
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}
"""What some programs call the parts of the VAE's attention, and what CompVis does."""
MOST_PARAMETERS = 2**31
"""The most weights of a checkpoint that are loaded; those of version 2 have 1.3 billion."""


class CheckpointError(FileError):
    """A file of weights is not a checkpoint that can be served."""


@dataclass(frozen=True)
class Original:
    """The type of an original checkpoint, found by the names and shapes of its tensors.

    architecture: the name of a folder of `weights/original`: v1, v2 or x4-upscaler.
    channels: of the UNet's input: 4 for drawing, 9 for inpainting (latents, mask and masked
        latents), 7 for the upscaler (latents and picture).
    """

    architecture: str
    channels: int


def examine(path: Path) -> Original:
    """Identify an original checkpoint by the table of its tensors.

    Raises:
        FileError: when it is none, or none that can be served.
    """
    return _identify(path, _read_table(path))


def load(path: Path, dtype: torch.dtype, device: str = "cpu") -> Any:
    """Load an original checkpoint as diffusers' pipeline, without a safety checker.

    Args:
        path: a file with one of `SUFFIXES`.
        dtype: the precision to compute in.
        device: where to compute.

    Returns:
        `StableDiffusionImg2ImgPipeline`, or `StableDiffusionInpaintPipeline` for 9 channels, or
        `StableDiffusionUpscalePipeline`. Its scheduler has the prediction type of the UNet; the
        UNet's `sample_size` is the side in latents of the square that the model was trained on.

    Raises:
        FileError: when the file is no whole checkpoint that can be served.
    """
    import diffusers
    from transformers import CLIPTokenizer

    table = _read_table(path)
    original = _identify(path, table)
    folder = ORIGINAL / original.architecture
    tensors = weight_files.load(path, _used(table))
    models = _models(path, original, tensors, dtype)
    for model in models.values():
        model.to(device)
    tokenizer = CLIPTokenizer.from_pretrained(ORIGINAL / "tokenizer")
    if original.architecture != "v1":
        # OpenCLIP pads with zeros. As a token, "!", they would be taken for words of prompts too.
        tokenizer.pad_token_id = 0
    settings: dict[str, Any] = {}
    if original.channels == 4:
        epsilon = _predicts_noise(path, models["unet"], models["text_encoder"], tokenizer)
        settings["prediction_type"] = "epsilon" if epsilon else "v_prediction"
        if original.architecture == "v2":
            models["unet"].register_to_config(sample_size=64 if epsilon else 96)
    scheduler = diffusers.DDIMScheduler.from_pretrained(folder, subfolder="scheduler", **settings)
    components = {**models, "tokenizer": tokenizer, "scheduler": scheduler}
    if original.architecture == "x4-upscaler":
        noise = diffusers.DDPMScheduler.from_pretrained(folder, subfolder="low_res_scheduler")
        return diffusers.StableDiffusionUpscalePipeline(**components, low_res_scheduler=noise)
    pipeline = (
        diffusers.StableDiffusionInpaintPipeline
        if original.channels == 9
        else diffusers.StableDiffusionImg2ImgPipeline
    )
    return pipeline(
        **components, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


def _read_table(path: Path) -> Table:
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(
            f"{path} is not a checkpoint: give a file with {' or '.join(SUFFIXES)}"
        )
    return weight_files.read_table(path)


def _identify(path: Path, table: Table) -> Original:
    for beginning, what in FOREIGN.items():
        if _has(table, beginning):
            raise CheckpointError(f"{path} is {what}")
    found = {TEXT_ENCODERS[prefix] for prefix in TEXT_ENCODERS if _has(table, prefix)}
    first = table[FIRST].shape if FIRST in table else ()
    if len(found) != 1 or len(first) != 4 or not _has(table, VAE):
        raise CheckpointError(
            f"{path} is not a whole checkpoint of Stable Diffusion 1 or 2: give one with a "
            f"text encoder (cond_stage_model), a UNet ({UNET[:-1]}) and a VAE ({VAE[:-1]})"
        )
    if sum(tensor.numel for tensor in _used(table).values()) > MOST_PARAMETERS:
        raise CheckpointError(
            f"{path} has more than {MOST_PARAMETERS:,} weights, which no model of Stable Diffusion "
            "1 or 2 has: get it from its makers"
        )
    architecture, channels = found.pop(), first[1]
    if (architecture, channels) == ("v2", 7):
        architecture = "x4-upscaler"
    if channels not in CHANNELS[architecture]:
        raise CheckpointError(
            f"the UNet of {path} takes {channels} channels: give a checkpoint for text to image "
            "(4), inpainting (9) or upscaling (7)"
        )
    return Original(architecture, channels)


def _has(names: Iterable[str], beginning: str) -> bool:
    return any(name.startswith(beginning) for name in names)


def _used(table: Table) -> Table:
    """Return the tensors of UNet, VAE and text encoder, by the names that CompVis has for them.

    Where a training kept the moving average of the UNet's weights beside the last ones, the
    average is returned, as in the files that the makers released for inference.
    """
    used = {}
    for name, tensor in table.items():
        if name.startswith(UNET):
            average = "model_ema." + name.removeprefix("model.").replace(".", "")
            used[name] = table.get(average, tensor)
        elif name.startswith((VAE, *TEXT_ENCODERS)):
            used[_original_name(name)] = tensor
    return used


def _original_name(name: str) -> str:
    if name.startswith(CLIP) and not name.startswith(CLIP + "text_model."):
        return f"{CLIP}text_model.{name.removeprefix(CLIP)}"  # as transformers has it since 5
    attention, middle, part = name.rpartition(".mid.attn_1.")
    for other, original in VAE_ATTENTION.items() if middle else ():
        if part.startswith(other + "."):
            return attention + middle + original + part.removeprefix(other)
    return name


def _models(
    path: Path, original: Original, tensors: dict[str, torch.Tensor], dtype: torch.dtype
) -> dict[str, Any]:
    """Make the models with these weights; return them by their names in pipelines."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import (
        SingleFileComponentError,
        create_diffusers_clip_model_from_ldm,
    )
    from transformers import CLIPTextModel

    options: dict[str, Any] = {
        "config": str(ORIGINAL / original.architecture),
        "local_files_only": True,
        "torch_dtype": dtype,
    }
    lacking = f"{path} lacks weights of its %s: download it again, or give a complete model"
    models: dict[str, Any] = {}
    for name, read in {
        "unet": partial(UNet2DConditionModel.from_single_file, in_channels=original.channels),
        "vae": AutoencoderKL.from_single_file,
        "text_encoder": partial(create_diffusers_clip_model_from_ldm, CLIPTextModel),
    }.items():
        try:
            models[name] = read(tensors, subfolder=name, **options)
        except NotImplementedError as error:  # of torch, for parameters without values
            raise CheckpointError(lacking % name) from error
        except (ValueError, SingleFileComponentError) as error:
            raise weight_files.unreadable(path, error_text(error)) from error
        if any(parameter.is_meta for parameter in models[name].parameters()):
            raise CheckpointError(lacking % name)
    if len(models["unet"].state_dict()) != sum(name.startswith(UNET) for name in tensors):
        raise CheckpointError(
            f"the UNet of {path} has more weights than that of Stable Diffusion: give a checkpoint "
            "of Stable Diffusion 1 or 2 as it was released"
        )
    return models


def _predicts_noise(path: Path, unet: Any, text_encoder: Any, tokenizer: Any) -> bool:
    """Return whether the UNet predicts the noise (epsilon), and not the velocity v.

    At the last timestep its input is hardly anything but noise. Epsilon is that noise itself; v
    is the negative of a picture and only a trace of the noise: as much as there is of a picture
    in the input (https://arxiv.org/abs/2202.00512), 7 % in the schedule of Stable Diffusion.
    """
    import torch

    size = (1, unet.config.in_channels, 32, 32)
    noise = torch.randn(size, generator=torch.Generator().manual_seed(0))
    empty = tokenizer("", padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.inference_mode():
        prompt = text_encoder(empty.to(unet.device))[0]
        prediction = unet(noise.to(unet.device, unet.dtype), 999, prompt).sample
    share = float((prediction.cpu() * noise).mean() / noise.square().mean())
    if not math.isfinite(share):
        raise CheckpointError(
            f"{path} is broken: its UNet's output is not a number; download it again"
        )
    return share > 0.5
