"""The Cog predictors: documented inputs in, files out.

Cog makes the API's schema from this file's text: what `Input(...)` holds must be literal.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from typing import Any, AsyncIterator, Optional

import cog
from cog import BasePredictor, Input, Path

from stable_diffusion import __version__, images, models, prompts
from stable_diffusion.request import InputError, Request

SIZES = [128, 256, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024]
SCHEDULERS = ["DDIM", "DPMSolverMultistep", "K_EULER", "K_EULER_ANCESTRAL", "KLMS", "PNDM"]


class Inputs:
    prompt = Input(description="text prompt")
    negative_prompt = Input(description="negative text prompt", default="")
    image = Input(description="starting image to use", accept="image/*", default=None)
    num_images = Input(description="number of images to generate", ge=1, le=4, default=1)
    num_inference_steps = Input(description="number of denoising steps", ge=1, le=512, default=25)
    guidance_scale = Input(description="classifier-free guidance, higher means follow prompt more closely", ge=1, le=20, default=7.5)
    strength = Input(description="how much to follow the input image. 1 means ignore the image, 0 means follow the image exactly", ge=0, le=1, default=0.8)
    width = Input(description="image width in px", choices=SIZES, default=None)
    height = Input(description="image height in px", choices=SIZES, default=None)
    seed = Input(description="random seed, empty means random", ge=0, le=9007199254740991, default=None)
    use_compel = Input(description="use compel library for weighted prompts", default=False)
    mask = Input(description="what to repaint of the image: white is repainted, black is preserved", accept="image/*", default=None)
    scheduler = Input(description="which sampler removes the noise", choices=SCHEDULERS, default="DPMSolverMultistep")
    output_format = Input(description="format of the image files", choices=["png", "webp", "jpg"], default="png")
    output_quality = Input(description="quality of webp and jpg files", ge=1, le=100, default=90)


class Predictor(BasePredictor):
    def setup(self) -> None:
        from stable_diffusion.engine import Engine

        weights = models.find(os.environ.get("MODEL"))
        self.engine = Engine(models.load(weights))
        print(f"{weights.name} on {self.engine.model.device}")

    @cog.streaming
    @cog.concurrent(max=8)
    async def predict(
        self,
        prompt: str = Inputs.prompt,
        negative_prompt: str = Inputs.negative_prompt,
        image: Optional[Path] = Inputs.image,
        num_images: int = Inputs.num_images,
        num_inference_steps: int = Inputs.num_inference_steps,
        guidance_scale: float = Inputs.guidance_scale,
        strength: float = Inputs.strength,
        width: Optional[int] = Inputs.width,
        height: Optional[int] = Inputs.height,
        seed: Optional[int] = Inputs.seed,
        use_compel: bool = Inputs.use_compel,
        mask: Optional[Path] = Inputs.mask,
        scheduler: str = Inputs.scheduler,
        output_format: str = Inputs.output_format,
        output_quality: int = Inputs.output_quality,
    ) -> AsyncIterator[Path]:
        inputs = {name: value for name, value in locals().items() if name != "self"}
        request = await asyncio.to_thread(read, inputs)
        async for path in run(self, request):
            yield path
