"""The machine that is measured: processor, GPU, versions, and its rate of matrix products."""

import os
import platform
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch

from stable_diffusion.models import default_dtype

LIBRARIES = ("torch", "diffusers", "transformers", "cog", "numpy", "openvino")


def facts() -> dict[str, Any]:
    """Return the names and versions of what a figure depends on."""
    gpu = torch.cuda.is_available()
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory": psutil.virtual_memory().total,
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "precision": precision(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES if find_spec(name)},
    }


def processor() -> str:
    """Return the processor's name and the SIMD instructions that torch can use on it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {torch.backends.cpu.get_cpu_capability()}"
    return platform.processor()


def precision() -> str:
    """Return the precision that models are served in, as the name of a dtype."""
    return os.environ.get("DTYPE") or default_dtype()


def matrix_rate() -> float:
    """Return the highest rate of a large matrix product, in floating-point operations a second."""
    gpu = torch.cuda.is_available()
    size = 8192 if gpu else 2048
    kind = {"device": "cuda" if gpu else "cpu", "dtype": getattr(torch, precision())}
    left, other = (torch.randn(size, size, **kind) for _ in range(2))
    best = 0.0
    for _ in range(12):
        wait()
        start = time.perf_counter()
        left @ other
        wait()
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def wait() -> None:
    """Wait until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
