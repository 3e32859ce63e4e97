"""OpenVINO on the same weights: the usual way to run Stable Diffusion fast on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from stable_diffusion import schedulers
from stable_diffusion.models import Model
from stable_diffusion.request import Request


class Unet(nn.Module):
    """The UNet as a function of three tensors, as OpenVINO converts it."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor
    ) -> torch.Tensor:
        """The prediction, in the shape of the latents."""
        predicted: torch.Tensor = self.unet(latents, timestep, text, return_dict=False)[0]
        return predicted


class Encoder(nn.Module):
    """The mean of the autoencoder's posterior."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Latents, not scaled."""
        mean: torch.Tensor = self.vae.encode(pixels).latent_dist.mean
        return mean


class Decoder(nn.Module):
    """The autoencoder's second half."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels, -1 to 1."""
        decoded: torch.Tensor = self.vae.decode(latents, return_dict=False)[0]
        return decoded


def contender(model: Model, request: Request, image: Image.Image) -> Callable[[], float]:
    """The same prediction by OpenVINO: UNet and autoencoder compiled for the CPU, in float32."""
    import openvino

    pipeline = model.pipeline
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    latents = torch.zeros(1, 4, image.height // 8, image.width // 8)
    text = torch.zeros(2, 77, pipeline.unet.config.cross_attention_dim)
    pixels = torch.zeros(1, 3, image.height, image.width)

    def compiled(module: nn.Module, *inputs: torch.Tensor) -> Callable[..., torch.Tensor]:
        with torch.no_grad():
            converted = openvino.convert_model(module.eval(), example_input=inputs)
        converted.reshape([list(each.shape) for each in inputs])
        runner = core.compile_model(converted, "CPU")

        def run(*values: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.array(runner([v.numpy() for v in values])[0]))

        return run

    two = latents.expand(2, -1, -1, -1).contiguous()
    unet = compiled(Unet(pipeline.unet), two, torch.zeros(2), text)
    encode, decode = (
        compiled(Encoder(pipeline.vae), pixels),
        compiled(Decoder(pipeline.vae), latents),
    )
    scaling = pipeline.vae.config.scaling_factor

    @torch.inference_mode()
    def run() -> None:
        positive, negative = pipeline.encode_prompt(request.prompt, model.device, 1, True)
        embeddings = torch.cat([negative, positive])
        schedule = schedulers.make(
            request.scheduler,
            pipeline.scheduler.config,
            request.num_inference_steps,
            request.strength,
        )
        generator = torch.Generator().manual_seed(request.seed)
        noise = torch.randn(latents.shape, generator=generator)
        picture = encode(pipeline.image_processor.preprocess(image)) * scaling
        moving = schedule.scheduler.add_noise(picture, noise, schedule.timesteps[:1])
        for step, timestep in enumerate(schedule.timesteps):
            scaled = schedule.scheduler.scale_model_input(moving, timestep)
            predicted = unet(torch.cat([scaled, scaled]), timestep.float().expand(2), embeddings)
            away, towards = predicted.chunk(2)
            guided = away + request.guidance_scale * (towards - away)
            moving = schedule.step(step, guided, moving, generator)
        pipeline.image_processor.postprocess(decode(moving / scaling))

    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return timed
