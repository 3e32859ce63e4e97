"""The inverse of what is tested: the library's models, written as CompVis and Stability AI do."""

from __future__ import annotations

import re
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "class_embedding": "label_emb",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def checkpoint(pipeline: Any, architecture: str) -> Tensors:
    """All the weights of a pipeline by their original names."""
    write_text = clip if architecture == "v1" else open_clip
    return unet(pipeline.unet) | vae(pipeline.vae) | write_text(pipeline.text_encoder)


def unet(model: Any) -> Tensors:
    rows = model.config.layers_per_block + 1

    def renamed(name: str) -> str:
        if not (part := re.match(r"(down|up|mid)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.*)", name)):
            return _replaced(name, OUTSIDE)
        side, block, kind, index, rest = part.groups()
        row, column = int(index), 0 if kind == "resnets" else 1
        if kind == "resnets":
            rest = _replaced(rest, RESNET)
        if side == "mid":
            return f"middle_block.{1 if column else 2 * row}.{rest}"
        if kind == "downsamplers":
            return f"input_blocks.{(int(block) + 1) * rows}.0.{rest.replace('conv', 'op')}"
        if kind == "upsamplers":
            column = 2 if hasattr(model.up_blocks[int(block)], "attentions") else 1
            return f"output_blocks.{int(block) * rows + rows - 1}.{column}.{rest}"
        if side == "down":
            return f"input_blocks.{1 + int(block) * rows + row}.{column}.{rest}"
        return f"output_blocks.{int(block) * rows + row}.{column}.{rest}"

    return {"model.diffusion_model." + renamed(name): t for name, t in model.state_dict().items()}


def vae(model: Any) -> Tensors:
    """Its attention as convolutions over one pixel."""
    last = len(model.config.block_out_channels) - 1
    tensors = {}
    for name, tensor in model.state_dict().items():
        name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{last - int(m[1])}.block", name)
        name = re.sub(
            r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name
        )
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "mid_block.attentions.0" in name:
            name = name.replace("mid_block.attentions.0", "mid.attn_1")
            name = name.replace("group_norm", "norm").replace("to_out.0", "proj_out")
            name = re.sub(r"to_([qkv])", r"\1", name)
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        tensors["first_stage_model." + name] = tensor
    return tensors


def clip(model: Any) -> Tensors:
    """As transformers named it in 2022, with a buffer that it no longer writes."""
    prefix = "cond_stage_model.transformer.text_model."
    tensors = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    return tensors | {prefix + "embeddings.position_ids": torch.arange(77)[None]}


def open_clip(model: Any) -> Tensors:
    """As OpenCLIP has it: queries, keys and values in one matrix, and one block more at the end."""
    state = model.state_dict()
    tensors = {
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "text_projection": torch.randn(model.config.hidden_size, model.config.hidden_size),
        "logit_scale": torch.tensor(4.6),
    }
    layers = model.config.num_hidden_layers
    names = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    for layer in range(layers):
        source, target = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            parts = [state[f"{source}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            tensors[f"{target}attn.in_proj_{kind}"] = torch.cat(parts)
            for ours, theirs in names.items():
                tensors[f"{target}{theirs}.{kind}"] = state[f"{source}{ours}.{kind}"]
    last = f"transformer.resblocks.{layers - 1}."
    for name in [name for name in tensors if name.startswith(last)]:
        dropped = name.replace(last, f"transformer.resblocks.{layers}.")
        tensors[dropped] = torch.randn_like(tensors[name])
    return {"cond_stage_model.model." + name: tensor for name, tensor in tensors.items()}


def _replaced(name: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        if name.startswith(ours + "."):
            return theirs + name.removeprefix(ours)
    return name
