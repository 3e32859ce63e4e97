"""OpenVINO on the same weights: the usual way to run Stable Diffusion fast on a CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from stable_diffusion import schedulers
from stable_diffusion.executors.conversion import Call, import_openvino
from stable_diffusion.models import Model
from stable_diffusion.request import Request


def compiled(model: Model, size: int) -> Callable[[Request], None]:
    """Return a function that draws at a size, with UNet and VAE compiled for the CPU in float32."""
    openvino = import_openvino()
    pipeline = model.pipeline
    vae = pipeline.vae
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    latents = torch.zeros(1, 4, size // 8, size // 8)
    text = torch.zeros(2, 77, pipeline.unet.config.cross_attention_dim)
    pixels = torch.zeros(1, 3, size, size)

    def compile_part(
        part: nn.Module, function: Callable[..., torch.Tensor], *inputs: torch.Tensor
    ) -> Callable[..., torch.Tensor]:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = openvino.convert_model(Call(part, function), example_input=inputs)
        converted.reshape({number: list(each.shape) for number, each in enumerate(inputs)})
        runner = core.compile_model(converted, "CPU")

        def run(*values: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.array(runner([v.numpy() for v in values])[0]))

        return run

    two = latents.expand(2, -1, -1, -1).contiguous()
    unet = compile_part(
        pipeline.unet,
        lambda unet, *given: unet(*given, return_dict=False)[0],
        two,
        torch.zeros(2),
        text,
    )
    encode = compile_part(vae, lambda vae, given: vae.encode(given).latent_dist.mean, pixels)
    decode = compile_part(
        vae, lambda vae, latents: vae.decode(latents, return_dict=False)[0], latents
    )
    scaling = vae.config.scaling_factor

    @torch.inference_mode()
    def run(request: Request) -> None:
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
        picture = encode(pipeline.image_processor.preprocess(request.image)) * scaling
        moving = schedule.scheduler.add_noise(picture, noise, schedule.timesteps[:1])
        for step, timestep in enumerate(schedule.timesteps):
            scaled = schedule.scheduler.scale_model_input(moving, timestep)
            predicted = unet(torch.cat([scaled, scaled]), timestep.float().expand(2), embeddings)
            away, towards = predicted.chunk(2)
            guided = away + request.guidance_scale * (towards - away)
            moving = schedule.step(step, guided, moving, generator)
        pipeline.image_processor.postprocess(decode(moving / scaling))

    return run
