"""The work that a prediction can't do without, in floating-point operations."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from stable_diffusion import schedulers
from stable_diffusion.models import Model
from stable_diffusion.request import Request


@torch.inference_mode()
def floor_of(model: Model, request: Request) -> float:
    """Floating-point operations of a request: the UNet's calls, one encoding, the decodings."""
    pipeline = model.pipeline
    width, height = request.width or 0, request.height or 0
    latents = torch.zeros(1, 4, height // 8, width // 8, device=model.device, dtype=model.dtype)
    pixels = torch.zeros(1, 3, height, width, device=model.device, dtype=model.dtype)
    features = pipeline.unet.config.cross_attention_dim
    text = torch.zeros(1, 77, features, device=model.device, dtype=model.dtype)
    timestep = torch.tensor([500.0], device=model.device)
    with FlopCounterMode(display=False) as unet:
        pipeline.unet(latents, timestep, encoder_hidden_states=text)
    with FlopCounterMode(display=False) as encoder:
        pipeline.vae.encode(pixels)
    with FlopCounterMode(display=False) as decoder:
        pipeline.vae.decode(latents)
    schedule = schedulers.make(
        request.scheduler,
        pipeline.scheduler.config,
        request.num_inference_steps,
        request.strength if request.image else 1,
    )
    rows = 2 if request.guidance_scale > 1 else 1
    steps = len(schedule.timesteps) * rows * request.num_images * unet.get_total_flops()
    encoded = encoder.get_total_flops() if request.image else 0
    return float(steps + encoded + request.num_images * decoder.get_total_flops())
