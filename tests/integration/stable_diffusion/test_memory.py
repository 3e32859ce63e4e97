from __future__ import annotations

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stable_diffusion import memory
from stable_diffusion.models import Model
from tools.benchmark.random_weights import unet_configuration


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
        available = SimpleNamespace(available=free)
        monkeypatch.setattr(psutil, "virtual_memory", lambda available=available: available)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 2**40))
        rooms[free] = memory.room_for(gpu)  # type: ignore[arg-type]
        assert memory.room_for(demo) == min(rooms[free], 8 * native)
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
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=900))
    assert memory.free() == free


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
    assert least * memory.LIVE_VALUES_PER_PIXEL < held <= 1.01 * memory.LIVE_VALUES_PER_PIXEL
