from __future__ import annotations

import itertools
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stable_diffusion import batches, tasks
from stable_diffusion.models import Model
from stable_diffusion.prompts import Prompts
from stable_diffusion.tasks import Denoising
from tests.support.studio import request
from tools.benchmark.random_weights import unet_configuration


def denoising(model: Model, **inputs: Any) -> Denoising:
    """A first image before its first step."""
    asked = request(**inputs)
    negative = "" if asked.guidance_scale > 1 else None
    embeddings = Prompts(model.pipeline).encode(asked.prompt, negative, asked.use_compel)
    return tasks.begin(asked, 0, tasks.prepare(asked, model), embeddings, model)


def test_a_batch_has_one_size_and_one_length_of_prompt_and_the_oldest_first(demo: Model) -> None:
    small: dict[str, Any] = {"width": 128}
    long: dict[str, Any] = {"use_compel": True, "prompt": "an apple " * 60}
    asked = [small, {"width": 256}, small, long, {"height": 256}, small]
    denoisings = [denoising(demo, **inputs) for inputs in asked]
    divided = list(batches.divide(denoisings, 10**6))
    found = [[denoisings.index(each) for each in batch] for batch in divided]
    assert found == [[0, 2, 5], [1], [3], [4]]


def test_a_batch_has_no_more_latent_pixels_than_there_is_room_for(demo: Model) -> None:
    guidances = [5, 1, 5, 1, 1, 5, 5]
    denoisings = [denoising(demo, guidance_scale=guidance) for guidance in guidances]
    for rows in range(2, 12):
        room = batches.room_for(demo, rows)
        divided = list(batches.divide(denoisings, room))
        assert [each for batch in divided for each in batch] == denoisings
        assert all(batches.pixels(batch) <= room for batch in divided)
        for batch, following in itertools.pairwise(divided):
            assert batches.pixels([*batch, following[0]]) > room


def test_one_image_has_always_room(demo: Model) -> None:
    large, small = denoising(demo, width=512), denoising(demo)
    divided = batches.divide([large, small, small], batches.room_for(demo, 2))
    assert [len(batch) for batch in divided] == [1, 1, 1]


def test_the_room_follows_the_free_memory(demo: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    native = 16 * 16
    gpu = SimpleNamespace(
        weights=demo.weights,
        pipeline=demo.pipeline,
        scale=demo.scale,
        dtype=demo.dtype,
        device=torch.device("cuda"),
    )
    rooms = {}
    for free in (10 * 2**20, 100 * 2**20, 1000 * 2**20):
        memory = SimpleNamespace(available=free)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 2**40))
        rooms[free] = batches.room_for(gpu)  # type: ignore[arg-type]
        assert batches.room_for(demo) == min(rooms[free], 8 * native)
    first, second, third = rooms.values()
    # Half of 10 MiB over 26 numbers of 4 bytes in each of 64 channels.
    assert first == 5 * 2**20 // (26 * 4 * 64)
    assert second == pytest.approx(10 * first, rel=0.01)
    assert third == pytest.approx(100 * first, rel=0.01)


@pytest.mark.parametrize(
    ("limit", "taken", "free"),
    [("max", 5, 900), ("800", 300, 500), ("2000", 300, 900), ("9", 10, 0)],
)
def test_a_containers_limit_is_kept(
    limit: str, taken: int, free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{taken}\n")
    monkeypatch.setattr(batches, "CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=900))
    assert batches._free_memory() == free


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what tensors made in its block hold at the most at once, in bytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self.known = set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in self.known:
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.forget, storage._cdata, storage.nbytes())
        return result

    def forget(self, storage: int, size: int) -> None:
        self.known.remove(storage)
        self.now -= size


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("demo", 16),
        ("demo", 48),
        ("stable-diffusion-2-1", 16),
        ("stable-diffusion-2-1", 96),
        ("stable-diffusion-v1-5", 64),
        ("stable-diffusion-2-inpainting", 64),
        ("stable-diffusion-x4-upscaler", 64),
        ("stable-diffusion-x4-upscaler", 512),
    ],
)
def test_a_call_holds_as_many_numbers_as_the_room_is_reckoned_with(
    demo: Model, name: str, side: int, rows: int
) -> None:
    import diffusers

    unet = demo.pipeline.unet
    if name != "demo":
        with torch.device("meta"):
            unet = diffusers.UNet2DConditionModel(**unet_configuration(name)).half()
    channels = unet.config.in_channels
    latents = torch.zeros(rows, channels, side, side, dtype=unet.dtype, device=unet.device)
    texts = torch.zeros(rows, 77, unet.config.cross_attention_dim).to(latents)
    labels = torch.zeros(rows, dtype=torch.long).to(unet.device) if channels == 7 else None
    with LiveBytes() as live:
        unet(
            latents,
            torch.zeros(rows).to(unet.device),
            encoder_hidden_states=texts,
            class_labels=labels,
        )
    held = live.most / (rows * side**2 * unet.config.block_out_channels[0] * unet.dtype.itemsize)
    least = 0.5 if channels == 7 else 0.9
    assert least * batches.LIVE < held <= 1.01 * batches.LIVE
