"""The time of one UNet call: by rows, precision, memory format, threads, and compiled."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from shutil import which
from typing import Any

import torch

from stable_diffusion import models
from stable_diffusion.catalogue import Weights
from tools.benchmark.latency import timed
from tools.benchmark.machine import precision
from tools.benchmark.statistics import interleaved, ratios, spread

ROWS = (1, 2, 4, 8, 16)


def by_rows(weights: Weights, rounds: int) -> dict[str, Any]:
    """Return the seconds of a call by number of rows, at native size and serving precision."""
    unet = models.load(weights, precision()).pipeline.unet
    calls = {str(rows): call(unet, weights.native_size, rows) for rows in ROWS}
    seconds = interleaved(rounds, **calls)
    return {
        rows: {**spread(each), "seconds_a_row": spread(each)["median"] / int(rows)}
        for rows, each in seconds.items()
    }


def by_way(weights: Weights, rounds: int) -> dict[str, Any]:
    """Return the seconds of a two-row call by the way it is run, and the ratio to plain float32."""
    threads, size = torch.get_num_threads(), weights.native_size

    def unet(dtype: str) -> Any:
        return models.load(weights, dtype).pipeline.unet

    def on_one_thread() -> float:
        torch.set_num_threads(1)
        try:
            return plain()
        finally:
            torch.set_num_threads(threads)

    plain = call(unet("float32"), size, 2)
    ways: dict[str, Callable[[], float]] = {
        "float32": plain,
        "one thread": on_one_thread,
        "channels last": call(channels_last(unet("float32")), size, 2),
        "bfloat16": call(unet("bfloat16"), size, 2),
        "bfloat16, channels last": call(channels_last(unet("bfloat16")), size, 2),
    }
    if which("g++"):
        start = time.perf_counter()
        ready = call(compiled(unet("float32")), size, 2)
        ways[f"compiled, in {time.perf_counter() - start:.0f} s"] = ready
    seconds = interleaved(rounds, **ways)
    return {
        name: {**spread(each), "ratio": ratios(each, seconds["float32"])}
        for name, each in seconds.items()
    }


def by_threads(weights: Weights, rounds: int) -> dict[str, Any]:
    """Return the seconds of a two-row call in a thread, before and after another thread computes.

    In a process that has done nothing else: each thread that computes keeps helpers.
    """
    unet = models.load(weights, "float32").pipeline.unet
    with ThreadPoolExecutor(1) as thread:
        two_rows = thread.submit(call, unet, weights.native_size, 2).result()
        before = [thread.submit(two_rows).result() for _ in range(rounds)]
        two_rows()
        after = [thread.submit(two_rows).result() for _ in range(rounds)]
    return {"alone": spread(before), "a second has computed": spread(after)}


def channels_last(unet: Any) -> Any:
    """Return the UNet with its weights in torch's memory format `channels_last`."""
    return unet.to(memory_format=torch.channels_last)


def compiled(unet: Any) -> Any:
    """Return the UNet compiled with its weights as constants."""
    import torch._inductor.config

    torch._inductor.config.freezing = True
    return torch.compile(unet)


def call(unet: Any, size: int, rows: int) -> Callable[[], float]:
    """Call the UNet once to warm it up; return a function that times another call, in seconds.

    Args:
        size: of the rows, which are squares, in pixels.
    """
    side = size // 8
    kind = {"device": unet.device, "dtype": unet.dtype}
    latents = torch.randn(rows, 4, side, side, **kind)
    texts = torch.randn(rows, 77, unet.config.cross_attention_dim, **kind)
    timesteps = torch.full((rows,), 500.0, device=unet.device)

    @torch.inference_mode()
    def run() -> None:
        unet(latents, timesteps, encoder_hidden_states=texts, return_dict=False)

    run()
    return lambda: timed(run)
