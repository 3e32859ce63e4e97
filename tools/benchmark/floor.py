"""The least work that a prediction needs, in floating-point operations."""

import json

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from stable_diffusion import schedulers
from stable_diffusion.catalogue import Weights
from stable_diffusion.request import Request


def floor_of(weights: Weights, request: Request) -> float:
    """Return a request's floating-point operations: UNet calls, one encoding, the decodings."""
    height, width = (request.height or 0), (request.width or 0)
    # The meta device knows shapes only: nothing is computed.
    with torch.device("meta"), torch.inference_mode():
        unet = UNet2DConditionModel.from_config(
            UNet2DConditionModel.load_config(weights.path / "unet")
        )
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(weights.path / "vae"))
        latents = torch.zeros(1, 4, height // 8, width // 8)
        text = torch.zeros(1, 77, unet.config.cross_attention_dim)
        with FlopCounterMode(display=False) as step:
            unet(latents, torch.zeros(1), encoder_hidden_states=text)
        with FlopCounterMode(display=False) as encoding:
            vae.encode(torch.zeros(1, 3, height, width))
        with FlopCounterMode(display=False) as decoding:
            vae.decode(latents)
    config = weights.path / "scheduler" / "scheduler_config.json"
    schedule = schedulers.make(
        request.scheduler,
        json.loads(config.read_text()),
        request.num_inference_steps,
        request.strength if request.image else 1,
    )
    rows = 2 if request.guidance_scale > 1 else 1
    images = request.num_images
    steps = len(schedule.timesteps) * rows * images * step.get_total_flops()
    encoded = encoding.get_total_flops() if request.image else 0
    return float(steps + encoded + images * decoding.get_total_flops())
