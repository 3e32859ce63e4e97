from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cog_schema.schema import ROOT
from stable_diffusion import channels_last
from stable_diffusion.cache import cache_folder
from stable_diffusion.channels_last import Unsupported, keep_channels_last, probe

HERE = Path(__file__).parent
TIMEOUT_SECONDS = 300


def run(*arguments: str, **environment: str) -> str:
    """What a Python of its own prints."""
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


def test_the_kernels_in_the_interpreter() -> None:
    # In a process of its own, since Triton is imported for the one or for the other.
    assert " passed" in run("-m", "pytest", str(HERE / "interpreted.py"), TRITON_INTERPRET="1")


COMPILE = """
import torch, triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from stable_diffusion import group_norm

class NoGPU:
    get_current_target = lambda self: GPUTarget("cuda", CAPABILITY, 32)
    get_current_device = lambda self: 0
    get_current_stream = lambda self, device: 0

triton.runtime.driver.set_active(NoGPU())
compile = triton.runtime.JITFunction.run
triton.runtime.JITFunction.__getitem__ = lambda self, grid: lambda *arguments, **options: compile(
    self, *arguments, grid=grid, warmup=True, **options)

compiled = []
def note(fn, **_): compiled.append(fn.name.split(".")[-1])
knobs.runtime.jit_post_compile_hook = note

def call(rows, height, width, dtype):
    for channels in CHANNELS:
        x = torch.empty(rows, channels, height, width, dtype=dtype)
        x = x.to(memory_format=torch.channels_last)
        weight, bias = torch.empty(2, channels, dtype=dtype)
        shift = torch.empty(rows, channels, dtype=dtype)
        with torch.inference_mode():
            group_norm.group_norm(x, 32, weight, bias, 1e-5)
            group_norm.group_norm(x, 32, weight, bias, 1e-6, silu=True)
            group_norm.group_norm(x, 32, weight, bias, 1e-5, silu=True, shift=shift)
            group_norm.group_norm(x, 32, weight, bias, 1e-5, silu=True, shift=bias)
            group_norm.add(x, weight, x)
            group_norm.add(x, weight, x, bias)

for dtype in (torch.float16, torch.float32):
    compiled.clear()
    call(2, 96, 96, dtype)
    print(sorted(compiled))
    compiled.clear()
    for size in (1, 1, 1), (1, 64, 64), (3, 5, 7), (16, 8, 8), (1, 1, 128), (5, 300, 200):
        call(*size, dtype)
    print(sorted(compiled))
"""


@pytest.mark.parametrize("capability", [75, 90])
def test_the_compiler_compiles_once_for_all_sizes(capability: int, tmp_path: Path) -> None:
    script = COMPILE.replace("CAPABILITY", str(capability)).replace("CHANNELS", "[320]")
    lines = run("-c", script, TRITON_CACHE_DIR=str(tmp_path)).splitlines()
    kernels = (
        ["_add_kernel"] * 2  # With and without a second bias.
        + ["_normalize_kernel"] * 3  # Plain, with SiLU, and with SiLU and shift.
        + ["_statistics_kernel"] * 2  # With and without shift.
    )
    assert lines == [str(kernels), "[]"] * 2


def test_a_model_on_the_cpu_is_left_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(4, 32, 3), nn.GroupNorm(32, 32))
    keep_channels_last(model)
    assert not any("forward" in vars(module) for module in model.modules())
    with pytest.raises(Unsupported, match="does not run on cpu"):
        probe(torch.device("cpu"))


def test_a_gpu_that_is_too_old_is_refused_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla P4")
    monkeypatch.setattr(channels_last, "_difference_from_torch", None)
    with pytest.raises(Unsupported, match=r"^Tesla P4 is too old for Triton: .* 7\.0$"):
        probe(torch.device("cuda"))


def test_what_is_compiled_is_kept_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "new"))
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(channels_last, "_difference_from_torch", lambda *_: 0.0)
    probe(torch.device("cuda"))
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "new" / "triton")
    assert (tmp_path / "new" / "triton").is_dir()


def test_a_cache_that_cannot_be_written_to_is_replaced_by_a_temporary_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "file"))
    folder = cache_folder("triton")
    assert folder.is_dir()
    assert tmp_path not in folder.parents


def test_a_temporary_cache_goes_when_the_process_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    script = (
        "from stable_diffusion.cache import cache_folder as c; f = c('x'); print(f.is_dir(), f)"
    )
    exists, folder = run("-c", script, CACHE_DIR=str(tmp_path / "file")).split()
    assert exists == "True"
    assert not Path(folder).exists()


def test_the_cache_is_in_the_home_folder_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("triton") == tmp_path / ".cache" / "stable-diffusion" / "triton"
