"""What was measured on: processor, GPU, versions, and how fast it multiplies matrices."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("torch", "diffusers", "transformers", "cog", "numpy")


def facts() -> dict[str, Any]:
    """Names and versions of what a figure depends on."""
    gpu = torch.cuda.is_available()
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def processor() -> str:
    """The processor's name and the wide instructions that torch can use on it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {torch.backends.cpu.get_cpu_capability()}"
    return platform.processor()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """The highest rate of a large matrix product in floating-point operations a second."""
    size = 8192 if device.type == "cuda" else 2048
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(12):
        wait(device)
        start = time.perf_counter()
        one @ other
        wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
