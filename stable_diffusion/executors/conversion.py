"""The conversion of UNet and autoencoder to OpenVINO's format, and its cache on the disk.

A model is converted once and kept in a folder named by its weights, with the hashes of its files:
what is broken there, or was written by other versions of the libraries, is made anew. A folder is
written under another name and then moved, and one process at a time does that.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
import importlib.metadata
import itertools
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stable_diffusion import adapters

LIBRARIES = ("openvino", "torch", "diffusers")
"""The libraries that a converted model depends on, beside the weights."""
CONTENTS = "contents.json"
"""The file that lists a folder's versions of libraries, and its other files with their hashes."""
UNFINISHED = "unfinished"
"""The name of a folder while it is being written."""


@dataclass(frozen=True)
class Part:
    """A function of tensors that a module of a pipeline computes.

    Attributes:
        function: what it computes, from a copy of the module and its inputs.
        inputs: an example of them, small; every size in them may change from call to call but the
            channels.
    """

    module: nn.Module
    function: Callable[..., torch.Tensor]
    inputs: tuple[torch.Tensor, ...]


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would report each import to its makers."""
    # It does without where this is missing: openvino/tools/ovc/telemetry_utils.py.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def parts_of(pipeline: Any) -> dict[str, Part]:
    """Return the parts of a pipeline that are worth converting, by name.

    `unet` is given samples, timesteps (one a row), embeddings and, where the UNet has them, class
    labels; `decoder` latents; `encoder` pixels, of which it gives the posterior's mean.
    """
    unet, vae = pipeline.unet, pipeline.vae
    latents = torch.zeros(2, unet.config.in_channels, 16, 16)
    text = torch.zeros(2, 77, unet.config.cross_attention_dim)
    labels = (torch.zeros(2, dtype=torch.int64),) if unet.config.num_class_embeds else ()
    return {
        "unet": Part(unet, _denoise, (latents, torch.zeros(2), text, *labels)),
        "decoder": Part(vae, _decode, (torch.zeros(1, vae.config.latent_channels, 16, 16),)),
        "encoder": Part(vae, _encode, (torch.zeros(1, vae.config.in_channels, 128, 128),)),
    }


def _denoise(unet: Any, *inputs: torch.Tensor) -> torch.Tensor:
    denoised: torch.Tensor = unet(*inputs, return_dict=False)[0]
    return denoised


def _decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    vae.disable_tiling()
    pixels: torch.Tensor = vae.decode(latents, return_dict=False)[0]
    return pixels


def _encode(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    vae.disable_tiling()
    mean: torch.Tensor = vae.encode(pixels).latent_dist.mean
    return mean


def converted(core: Any, parts: Mapping[str, Part], cache_dir: Path | None) -> dict[str, Any]:
    """Return OpenVINO's models of some parts, in float32, for inputs of any size.

    Args:
        core: OpenVINO's.
        cache_dir: where they are kept, and found again; None keeps nothing. When it can't be
            used, one line says so, and they are made all the same.
    """
    models: dict[str, Any] = {}
    if cache_dir is not None:
        folder = cache_dir / _fingerprint(parts)
        try:
            with _locked(cache_dir):
                if not _is_whole(folder):
                    models = {name: _convert(part) for name, part in parts.items()}
                    _keep(models, folder)
                # The system can take back pages of files when memory is short.
                return {name: core.read_model(folder / f"{name}.xml") for name in parts}
        except OSError as error:
            print(f"the converted model can't be saved in {cache_dir}: {error}", file=sys.stderr)
    return models or {name: _convert(part) for name, part in parts.items()}


def _convert(part: Part) -> Any:
    """Convert a part by tracing a copy of it, so that the part can be in use meanwhile."""
    openvino = import_openvino()
    tensors = itertools.chain(part.module.parameters(), part.module.buffers())
    # In float32 the copy shares the weights.
    shared = {id(tensor): _in_float32(tensor) for tensor in tensors}
    with adapters.AT_WORK:
        module = copy.deepcopy(part.module, shared)
    # Tracing warns of sizes that it fixes; none of ours is. For good, since other threads may warn.
    warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)
    with torch.no_grad():
        return openvino.convert_model(Call(module, part.function), example_input=part.inputs)


def _in_float32(tensor: torch.Tensor) -> torch.Tensor:
    values = tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(values, requires_grad=False)
    return values


class Call(nn.Module):
    """A module that computes a function of another module."""

    def __init__(self, module: nn.Module, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.module = module
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the function's result."""
        return self.function(self.module, *inputs)


def _fingerprint(parts: Mapping[str, Part]) -> str:
    """Return a hash of what the parts are converted from: configurations and weights."""
    digest = hashlib.sha256()
    modules = {id(part.module): part.module for part in parts.values()}
    for module in modules.values():
        configuration: Any = module.config
        # What begins so is of the library's own: a path, a set in any order.
        known = {key: value for key, value in configuration.items() if not key.startswith("_")}
        digest.update(json.dumps(known, sort_keys=True, default=str).encode())
        for name, tensor in module.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _is_whole(folder: Path) -> bool:
    """Return whether a folder is complete, unchanged, and written by these versions."""
    try:
        contents = json.loads((folder / CONTENTS).read_text())
        return contents["versions"] == _versions() and all(
            _hash(folder / name) == digest for name, digest in contents["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _locked(cache_dir: Path) -> Iterator[None]:
    """Hold the cache's lock: other processes wait before they convert, save or read.

    Raises:
        OSError: when the folder can't be made or written.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _keep(models: Mapping[str, Any], folder: Path) -> None:
    """Write the models into a folder, in place of one that is not whole.

    Raises:
        OSError: when they can't be written.
    """
    openvino = import_openvino()
    written = folder.with_name(UNFINISHED)
    shutil.rmtree(written, ignore_errors=True)  # of a process that was killed
    try:
        written.mkdir()
        for name, model in models.items():
            openvino.save_model(model, written / f"{name}.xml", compress_to_fp16=False)
        files = {file.name: _hash(file) for file in sorted(written.iterdir())}
        (written / CONTENTS).write_text(json.dumps({"versions": _versions(), "files": files}))
        if folder.exists():
            shutil.rmtree(folder)  # Who reads it goes on reading.
        written.rename(folder)
    except RuntimeError as error:
        raise OSError(" ".join(str(error).split())) from error
    finally:
        shutil.rmtree(written, ignore_errors=True)
