"""The joint training of text encoder and UNet, by v-prediction, from captions and latents."""

import copy
import dataclasses
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from threading import Thread

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from train_demo.captions import caption
from train_demo.latents import Latents
from train_demo.progress import Clock, Log, write
from train_demo.settings import Settings

PLAIN_WEIGHT = 8.0  # how much oftener a pictogram itself is drawn than one of its variants


def noise_schedule() -> DDIMScheduler:
    """Return SD's schedule, rescaled to pure noise at the last timestep (arXiv 2305.08891)."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


@dataclasses.dataclass
class Denoiser:
    """The components that are trained, with the tokenizer."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel

    @classmethod
    def new(cls, settings: Settings, tokenizer: CLIPTokenizer) -> "Denoiser":
        """Return an untrained denoiser; the UNet's branches begin at zero (arXiv 2105.05233)."""
        width, channels = settings.text_width, settings.unet_channels
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=settings.text_layers,
                num_attention_heads=width // 32,
                hidden_act="gelu",
                projection_dim=width,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        deeper = len(channels) - 1
        unet = UNet2DConditionModel(
            sample_size=max(settings.batch) // 8,
            block_out_channels=channels,
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D",) * deeper + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * deeper,
            cross_attention_dim=width,
            attention_head_dim=tuple(channel // 32 for channel in channels),
            use_linear_projection=True,
        )
        for name, module in unet.named_modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith((".conv2", "conv_out", ".proj_out")):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
        return cls(tokenizer, text_encoder, unet)

    @classmethod
    def of(cls, folder: Path) -> "Denoiser":
        """Load the denoiser of a pipeline's folder, to train it further."""
        return cls(
            CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32),
            UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32),
        )

    def to(self, device: torch.device) -> "Denoiser":
        """Move it to the device; return itself."""
        self.text_encoder.to(device)
        self.unet.to(device, memory_format=torch.channels_last)
        return self

    def parameters(self) -> list[torch.Tensor]:
        """Return all of its weights."""
        return [*self.text_encoder.parameters(), *self.unet.parameters()]

    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the weights by their names, for a checkpoint."""
        return {"text_encoder": self.text_encoder.state_dict(), "unet": self.unet.state_dict()}

    def load_state(self, state: dict[str, dict[str, torch.Tensor]]) -> None:
        """Load the weights of a checkpoint."""
        self.text_encoder.load_state_dict(state["text_encoder"])
        self.unet.load_state_dict(state["unet"])

    def tokens(self, texts: list[str]) -> torch.Tensor:
        """Return the tokens of texts, (texts, 77), int64."""
        encoded = self.tokenizer(
            texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        )
        tokens: torch.Tensor = encoded.input_ids
        return tokens


def train(
    denoiser: Denoiser,
    latents: Latents,
    settings: Settings,
    checkpoint: Path,
    log: Log,
    at_grid: Callable[[Denoiser, str], None],
) -> Denoiser:
    """Train `denoiser` for `settings.minutes`, those before an interruption included.

    Args:
        denoiser: on the device that trains.
        latents: what it learns to draw.
        settings: rate, batches, minutes and the rest.
        checkpoint: the file to go on from, and to write.
        log: where the progress goes.
        at_grid: is given the averaged model and the minute, whenever a grid is due.

    Returns:
        The moving average of the weights.
    """
    device = denoiser.unet.device
    averaged = copy.deepcopy(denoiser)
    for parameter in averaged.parameters():
        parameter.requires_grad_(False)
    if device.type == "cpu":
        # Faster than SDPA for training at these sizes on a CPU, by 12 % of the step.
        denoiser.unet.set_attn_processor(AttnProcessor())
    parameters, averages = denoiser.parameters(), averaged.parameters()
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    step, clock = 0, Clock(settings.minutes)
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        denoiser.load_state(saved["denoiser"])
        averaged.load_state(saved["averaged"])
        optimizer.load_state_dict(saved["optimizer"])
        step, clock.minutes = saved["step"], saved["minutes"]
        log(f"goes on from step {step}, minute {clock.minutes:.1f}")
    torch.backends.cudnn.benchmark = True
    alphas = noise_schedule().alphas_cumprod.to(device)
    sampler = Sampler(latents, denoiser.tokens, settings, seed=step)
    batches = ahead(lambda: sampler.batch(clock.share, pinned=device.type == "cuda"))
    of_size = {size: each.to(device) for size, each in latents.of_size.items()}
    losses: dict[int, list[torch.Tensor]] = {size: [] for size in settings.batch}

    def save() -> None:
        state = {
            "denoiser": denoiser.state(),
            "averaged": averaged.state(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "minutes": clock.minutes,
        }
        write(checkpoint, lambda path: torch.save(state, path))

    seen, since = 0, time.monotonic()
    while not clock.over:
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * pace(step, clock.share, settings.warm_up)
        batch = next(batches).to(device)
        chosen = of_size[batch.size][batch.indices].float()
        loss = loss_of(denoiser, chosen, batch.tokens, batch.timesteps, alphas)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        decay = min(settings.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1 - decay)
        losses[batch.size].append(loss.detach())
        seen += len(batch.indices)
        clock.tick()
        if step % settings.steps_between_logs == 0:
            means = " ".join(
                f"{size} px {torch.stack(each).mean():.4f}" for size, each in losses.items() if each
            )
            rate = seen / (time.monotonic() - since)
            log(f"minute {clock.minutes:.1f} step {step} loss {means}, {rate:.0f} a second")
            losses = {size: [] for size in losses}
            seen, since = 0, time.monotonic()
        if clock.due("checkpoint", settings.minutes_between_checkpoints):
            save()
        if clock.due("grid", settings.minutes_between_grids):
            save()
            at_grid(averaged, f"{clock.minutes:.1f}")
            clock.skip()
            since, seen = time.monotonic(), 0
    save()
    return averaged


def pace(step: int, share: float, warm_up: int) -> float:
    """Return the share of the full learning rate: warm-up by steps, a cosine in the second half."""
    tail = 1 if share < 0.5 else 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * (2 * share - 1)))
    return min(1, (step + 1) / warm_up) * tail


def loss_of(
    denoiser: Denoiser,
    latents: torch.Tensor,
    tokens: torch.Tensor,
    timesteps: torch.Tensor,
    alphas: torch.Tensor,
) -> torch.Tensor:
    """Return the weighted squared error of velocities (arXiv 2202.00512, weights of 2303.09556)."""
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    noise = torch.randn_like(latents)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    with torch.autocast(latents.device.type, torch.bfloat16):
        predicted = denoiser.unet(
            noisy.contiguous(memory_format=torch.channels_last),
            timesteps,
            encoder_hidden_states=denoiser.text_encoder(tokens)[0],
        ).sample
    # min(SNR + 1, 6) / (SNR + 1): the plain form is zero where the noise is pure.
    weight = torch.clamp(1 / (1 - alpha), max=6) * (1 - alpha)
    loss: torch.Tensor = ((predicted.float() - velocity).square() * weight).mean()
    return loss


@dataclasses.dataclass(frozen=True)
class Batch:
    """Pictures of one size to learn from.

    size: in pixels.
    indices: of the pictures among the latents, (pictures,), int64.
    tokens: of their captions, (pictures, 77), int64.
    timesteps: (pictures,), int64.
    """

    size: int
    indices: torch.Tensor
    tokens: torch.Tensor
    timesteps: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return a copy on the device, without waiting for it."""
        indices, tokens, timesteps = (
            each.to(device, non_blocking=True)
            for each in (self.indices, self.tokens, self.timesteps)
        )
        return Batch(self.size, indices, tokens, timesteps)


def ahead(make: Callable[[], Batch]) -> Iterator[Batch]:
    """Yield the batches that `make` returns, made two in advance by a thread."""
    batches: Queue[Batch] = Queue(2)

    def work() -> None:
        while True:
            batches.put(make())

    Thread(target=work, daemon=True).start()
    while True:
        yield batches.get()


class Sampler:
    """A source of random batches: pictures of one size, their captions and timesteps."""

    def __init__(
        self,
        latents: Latents,
        tokens: Callable[[list[str]], torch.Tensor],
        settings: Settings,
        seed: int,
    ) -> None:
        self.tokens, self.settings = tokens, settings
        self.subjects = latents.subjects
        self.rng = np.random.default_rng(seed)
        self.words = random.Random(seed)
        weights = np.array([PLAIN_WEIGHT if s.is_plain else 1 for s in self.subjects])
        self.weights = weights / weights.sum()

    def batch(self, share: float, pinned: bool = False) -> Batch:
        """Draw the next batch, when `share` of the training is done; in pinned memory for a GPU."""
        shares = self.settings.shares[share >= 0.5]
        size = int(self.rng.choice(list(shares), p=list(shares.values())))
        count = self.settings.batch[size]
        indices = self.rng.choice(len(self.subjects), count, p=self.weights)
        captions = [
            ""
            if self.words.random() < self.settings.captions_dropped
            else caption(self.subjects[index], self.words)
            for index in indices
        ]
        # One timestep from each of `count` equal parts of the range; larger pictures, whose
        # neighbouring latents agree more, are noised more (as in SD 3, arXiv 2403.03206).
        drawn = (self.rng.permutation(count) + self.rng.random(count)) / count
        shift = size / min(self.settings.batch)
        drawn = shift * drawn / (1 + (shift - 1) * drawn)
        timesteps = np.minimum(drawn * 1000, 999).astype(np.int64)
        parts = (torch.from_numpy(indices), self.tokens(captions), torch.from_numpy(timesteps))
        if pinned:
            parts = tuple(part.pin_memory() for part in parts)  # type: ignore[assignment]
        return Batch(size, *parts)
