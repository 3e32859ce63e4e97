"""The growth of a prediction's cost with steps, images and area."""

from typing import Any

import torch
from PIL import Image

from stable_diffusion import models
from stable_diffusion.catalogue import Weights
from stable_diffusion.engine import Engine
from stable_diffusion.models import Model
from stable_diffusion.pixel_upscalers import Network, PixelUpscaler
from stable_diffusion.request import AUTOMATIC_SIZES, Request
from tools.benchmark.latency import PROMPT, answer, picture, timed
from tools.benchmark.machine import precision
from tools.benchmark.statistics import interleaved, spread

UPSCALER = "upscaler (as x4plus_anime_6B, random weights)"
"""The name of a network, and of its line."""


def measure(weights: Weights, steps: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of text to image at native size, and with one input changed at a time.

    Those that need an image have it at strength 1, so that they run as many steps.
    """
    native = weights.native_size
    larger = [size for size in AUTOMATIC_SIZES if native < size <= 4 * native][:2]
    changes: dict[str, dict[str, Any]] = {
        "as it is": {},
        "guidance 1": {"guidance_scale": 1},
        f"{2 * steps} steps": {"num_inference_steps": 2 * steps},
        f"{4 * steps} steps": {"num_inference_steps": 4 * steps},
        "2 images": {"num_images": 2},
        "4 images": {"num_images": 4},
        "K_HEUN": {"scheduler": "K_HEUN"},
        "eta 1": {"scheduler": "DDIM", "eta": 1},
        "karras": {"spacing": "karras"},
        "clip_skip 1": {"clip_skip": 1},
        "tiling": {"tiling": True},
        "refine_scale": {"refine_scale": 2},
        UPSCALER: {"refine_scale": 2, "upscaler": UPSCALER},
        **{f"{size} px": {"width": size, "height": size} for size in larger},
    }
    image = picture(3 * native, 2 * native)
    mask = Image.new("L", image.size)
    mask.paste(255, (native, native // 2, 2 * native, native))
    drawn = {"image": image, "strength": 1}
    masked = drawn | {"mask": mask}
    changes |= {
        "image": drawn,
        "mask": masked,
        "mask_grow": masked | {"mask_grow": 16},
        "only_masked": masked | {"only_masked": True},
        "extend_right": drawn | {"extend_right": native // 2},
        "keep_size": drawn | {"keep_size": True},
        "resize_mode": drawn | {"resize_mode": "pad"},
        "crop": drawn | {"crop": f"0,0,{native},{native}"},
    }
    model = models.load(weights, precision())
    engine = Engine(model, upscalers={UPSCALER: upscaler_for(model)})
    asked = {"prompt": PROMPT, "seed": 1, "width": native, "height": native}
    asked["num_inference_steps"] = steps
    requests = {
        name: Request.of(asked | change, upscalers=engine.upscalers)
        for name, change in changes.items()
    }
    seconds = interleaved(
        rounds,
        **{
            name: lambda request=request: timed(lambda: answer(engine, request))
            for name, request in requests.items()
        },
    )
    engine.close()
    first = spread(seconds["as it is"])["median"]
    return {
        name: {**spread(each), "times": spread(each)["median"] / first}
        for name, each in seconds.items()
    }


def upscaler_for(model: Model) -> PixelUpscaler:
    """Return a network of RealESRGAN_x4plus_anime_6B's shape, with random weights."""
    dtype = torch.float16 if model.device.type == "cuda" else torch.float32
    network = Network(blocks=6, features=64, growth=32, unshuffle=1, doublings=2)
    network = network.to(model.device, dtype).eval().requires_grad_(False)
    return PixelUpscaler(UPSCALER, network, model.device, dtype)
