"""The executors, which take steps: plainly by torch, from CUDA graphs, or by OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch

from stable_diffusion import memory
from stable_diffusion.cache import cache_folder
from stable_diffusion.catalogue import SetupError
from stable_diffusion.executors.plain import PlainExecutor
from stable_diffusion.models import Model

NAMES = ("plain", "cuda-graphs", "openvino")
"""The values that the setting EXECUTOR may have."""
INSTALL = ".venv/bin/python -m pip install -r requirements-openvino.txt"
OPENVINO_MEMORY_SHARE = 0.5
"""OpenVINO's share of the memory that is free before it compiles."""


def choose(name: str | None, model: Model, wake: Callable[[], None]) -> PlainExecutor:
    """Return the executor of a name, or the one that suits the model's device.

    Args:
        name: one of `NAMES`; None for the one that suits.
        wake: called from another thread when the executor has work to do between turns.

    Raises:
        SetupError: where it can't be used.
    """
    on_gpu = model.device.type == "cuda"
    if name not in (None, *NAMES):
        raise SetupError(f"EXECUTOR is {name!r}; give one of {', '.join(NAMES)}, or leave it empty")
    if name == "cuda-graphs" and not on_gpu:
        raise SetupError("EXECUTOR is cuda-graphs, but there is no GPU; leave it empty")
    if name == "openvino" and on_gpu:
        raise SetupError("EXECUTOR is openvino, which is for a CPU; leave it empty")
    if name == "openvino" and not find_spec("openvino"):
        raise SetupError(f"EXECUTOR is openvino, which is not installed; run: {INSTALL}")
    if name == "plain":
        return PlainExecutor(model)
    if on_gpu:
        return _cuda_graphs(model)
    return _openvino(model, wake) if find_spec("openvino") else PlainExecutor(model)


def _openvino(model: Model, wake: Callable[[], None]) -> PlainExecutor:
    from stable_diffusion.executors.openvino import OpenVinoExecutor
    from stable_diffusion.executors.openvino_parts import OpenVinoParts

    memory_limit = int(OPENVINO_MEMORY_SHARE * memory.free())
    parts = OpenVinoParts(
        model.pipeline, dtype=model.dtype, cache_dir=cache_folder("openvino"), memory=memory_limit
    )
    return OpenVinoExecutor(model, parts, wake)


def _cuda_graphs(model: Model) -> PlainExecutor:
    from stable_diffusion import channels_last
    from stable_diffusion.executors.cuda_graphs import (
        GRAPH_MEMORY_SHARE,
        CudaGraphExecutor,
        GraphRecorder,
    )

    def fuse() -> Callable[[], None]:
        channels_last.probe(model.device, model.dtype)
        pipeline = model.pipeline
        patches = channels_last.keep_channels_last(pipeline.unet)
        patches.enter_context(channels_last.keep_channels_last(pipeline.vae))
        return patches.close

    free, _ = torch.cuda.mem_get_info(model.device)
    limit = int(GRAPH_MEMORY_SHARE * free)
    return CudaGraphExecutor(model, GraphRecorder(), limit, fuse)
