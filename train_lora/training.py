"""The training of a LoRA of a model's UNet, by PEFT."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
import torch.distributed.tensor  # which PEFT asks for, also where models were loaded without it
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from torch.nn import functional

from stable_diffusion.images import fit
from stable_diffusion.models import Model
from train_demo.progress import TrainingError
from train_lora.examples import Example
from train_lora.settings import Settings

CAPTIONS_AT_ONCE = 16
LOG_LINES = 20
"""Lines that tell the loss, in a training."""
LARGEST_NORM = 1.0
"""Of a step's gradient: a longer one is cut to it."""


@dataclass(frozen=True)
class Learned:
    """What is learned from, on the model's device.

    latents: of the pictures, (pictures, 4, side/8, side/8), scaled, float32.
    texts: the embeddings of their captions, (pictures, tokens, width), in the model's precision.
    no_text: that of no caption, (1, tokens, width).
    """

    latents: torch.Tensor
    texts: torch.Tensor
    no_text: torch.Tensor


class Noising:
    """What a model's UNet was trained for: its noise schedule, and what it predicts."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Take the configuration of the model's scheduler.

        Raises:
            TrainingError: when the UNet predicts neither the noise nor v.
        """
        self._scheduler = diffusers.DDPMScheduler.from_config(config)
        self.prediction_type: str = self._scheduler.config.prediction_type
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise TrainingError(
                f"the model predicts {self.prediction_type!r}: a LoRA can be trained of models "
                "that predict epsilon or v_prediction"
            )
        self.timesteps: int = self._scheduler.config.num_train_timesteps

    def loss(
        self,
        unet: Any,
        latents: torch.Tensor,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        texts: torch.Tensor,
    ) -> torch.Tensor:
        """Return the mean squared error of the UNet's predictions.

        Args:
            latents, noise: (n, 4, h, w) float32.
            timesteps: (n,), from 0 to below `timesteps`.
            texts: (n, tokens, width).
        """
        noisy = self._scheduler.add_noise(latents, noise, timesteps)
        wanted = noise
        if self.prediction_type == "v_prediction":
            wanted = self._scheduler.get_velocity(latents, noise, timesteps)
        with torch.autocast(latents.device.type, torch.bfloat16, latents.is_cuda):
            predicted = unet(noisy.to(unet.dtype), timesteps, texts).sample
        return functional.mse_loss(predicted.float(), wanted)


def learned(
    model: Model, examples: Sequence[Example], resolution: int, log: Callable[[str], None]
) -> Learned:
    """Read and encode the examples, once for all steps: the means of the pictures' latents.

    Args:
        log: is told of captions that the text encoder can't take whole.

    Raises:
        TrainingError: when a picture can't be read.
    """
    pipeline, size = model.pipeline, (resolution, resolution)
    vae, latents, texts = pipeline.vae, [], []
    with torch.no_grad():
        for example in examples:
            pixels = pipeline.image_processor.preprocess(fit(example.read(), size))
            encoded = vae.encode(pixels.to(model.device, vae.dtype)).latent_dist.mean
            latents.append(encoded.float() * vae.config.scaling_factor)
        captions = [example.caption for example in examples]
        for first in range(0, len(captions), CAPTIONS_AT_ONCE):
            part = captions[first : first + CAPTIONS_AT_ONCE]
            texts.append(pipeline.encode_prompt(part, model.device, 1, False)[0])
        no_text = pipeline.encode_prompt("", model.device, 1, False)[0]
    most = pipeline.tokenizer.model_max_length
    lengths = [len(ids) for ids in pipeline.tokenizer(captions).input_ids]
    if longer := sum(length > most for length in lengths):
        log(f"{longer} captions are cut after {most - 2} tokens, which is all that is encoded")
    return Learned(torch.cat(latents), torch.cat(texts), no_text)


def train(
    model: Model, what: Learned, settings: Settings, log: Callable[[str], None]
) -> dict[str, torch.Tensor]:
    """Train a LoRA; return its tensors by PEFT's names. The model's UNet has it from then on.

    On a CPU, the same settings give the same tensors.

    Raises:
        TrainingError: when the loss is no number any more.
    """
    unet, noising = model.pipeline.unet, Noising(model.pipeline.scheduler.config)
    torch.manual_seed(settings.seed)  # PEFT's first weights come from here
    inject_adapter_in_model(
        LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=settings.targets),
        unet,
    )
    if unet.device.type == "cuda":
        unet.enable_gradient_checkpointing()
    weights = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, settings.rate, weight_decay=0.01)
    pace = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    generator = torch.Generator().manual_seed(settings.seed)
    order = _order(len(what.latents), settings.batch, generator)
    unet.train()
    numbers, begun, told, losses = sum(map(torch.Tensor.numel, weights)), time.monotonic(), 0, []
    log(f"trains {numbers:,} numbers by {len(what.latents)} pictures, on {unet.device.type}")
    for step in range(1, settings.steps + 1):
        chosen = next(order)
        dropped = torch.rand(len(chosen), 1, 1, generator=generator) < settings.captions_dropped
        latents = what.latents[chosen]
        texts = torch.where(dropped.to(latents.device), what.no_text, what.texts[chosen])
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        timesteps = torch.randint(noising.timesteps, (len(latents),), generator=generator)
        loss = noising.loss(unet, latents, noise, timesteps.to(latents.device), texts)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, LARGEST_NORM)
        optimizer.step()
        pace.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise TrainingError(f"the loss of step {step} is no number: give a lower rate")
        if step * LOG_LINES // settings.steps > told * LOG_LINES // settings.steps:
            mean, seconds = sum(losses) / len(losses), time.monotonic() - begun
            left = seconds / step * (settings.steps - step)
            log(f"step {step} of {settings.steps}: loss {mean:.4f}; {left / 60:.1f} minutes left")
            told, losses = step, []
    unet.eval()
    return {name: tensor.cpu() for name, tensor in get_peft_model_state_dict(unet).items()}


def _order(count: int, batch: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield the numbers of each step's pictures, (batch,): all once before any comes again."""
    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        while len(waiting) < batch:
            waiting = torch.cat([waiting, torch.randperm(count, generator=generator)])
        yield waiting[:batch]
        waiting = waiting[batch:]
