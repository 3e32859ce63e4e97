"""The training of the autoencoder on crops of the pictures."""

import math
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional

from train_demo.course import Course
from train_demo.pictograms import pictograms, read
from train_demo.progress import Clock, Log
from train_demo.settings import Settings
from train_demo.state import State, adamw
from train_demo.stopping import Stop

CROP_PIXELS = 64
KL_WEIGHT = 1e-4


def new(channels: tuple[int, ...]) -> AutoencoderKL:
    """Return an untrained autoencoder of factor 8, with zero biases and unit gain.

    PyTorch's own initialisation stalls it: L1 0.437 against 0.306 after 60 steps.
    """
    deeper = len(channels)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * deeper,
        up_block_types=("UpDecoderBlock2D",) * deeper,
        block_out_channels=channels,
        norm_num_groups=4,
        sample_size=256,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )
    gains = {"conv1": 1.4, "conv2": 0.2, "encoder.conv_out": 1.7, "decoder.conv_out": 0.6}
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            gain = next((gain for end, gain in gains.items() if name.endswith(end)), 1.0)
            nn.init.normal_(module.weight, 0, gain / module.weight[0].numel() ** 0.5)
            nn.init.zeros_(module.bias)
    with torch.no_grad():  # the second half of the channels is the logarithm of the variance
        vae.quant_conv.bias[4:] = -4
        vae.quant_conv.weight[4:] *= 0.1
    return vae


def train(
    vae: AutoencoderKL, pictures: Path, settings: Settings, checkpoint: Path, log: Log, stop: Stop
) -> None:
    """Train `vae` on the packed `pictures`, for the minutes that the settings give it.

    Raises:
        TrainingError: steps were not finite too often; the checkpoint has the last good state.
        Stopped: a signal has come.
    """
    shown = [each for each in pictograms(pictures) if each.is_learned]
    every = torch.from_numpy(read(shown, pictures)).to(vae.device)
    state = State({"vae": vae}, adamw(vae.parameters(), betas=(0.9, 0.98), weight_decay=1e-3))
    clock = Clock(settings.autoencoder_minutes, settings.minutes_of_a_step)
    course = Course(state, checkpoint, clock, settings.steps_between_logs, log, stop)
    vae.train()
    while course.goes_on():
        rate = settings.autoencoder_rate * course.rate_share * min(1, (course.step + 1) / 40)
        state.set_rate(rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * clock.share))))
        loss = loss_of(vae, crops(every, settings.autoencoder_batch))
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        state.optimizer.step()
        taken = torch.stack([loss.detach(), norm])
        course.took("crops", settings.autoencoder_batch, taken)
        if clock.due("checkpoint", settings.minutes_between_checkpoints):
            course.save()
    course.save()
    vae.eval()
    normalise(vae, every)


def pixels(rgb: np.ndarray, device: torch.device) -> torch.Tensor:
    """Scale `rgb`, (pictures, height, width, 3) uint8, to (pictures, 3, height, width), -1 to 1."""
    return torch.from_numpy(rgb).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def crops(pictures: torch.Tensor, count: int) -> torch.Tensor:
    """Return random crops, half the time from pictures at half their size.

    Backgrounds are white, coloured, or another picture; a third has its channels exchanged.

    Returns:
        (count, 3, CROP_PIXELS, CROP_PIXELS), -1 to 1.
    """
    device = pictures.device
    scale = int(torch.randint(1, 3, ()))
    side = CROP_PIXELS * scale

    def cut() -> torch.Tensor:
        chosen = torch.randint(len(pictures), (count, 1, 1), device=device)
        # The mean of two draws: the middle, where the thing is, more often than the rim.
        corner = torch.rand(2, 2, count, device=device).mean(0) * (pictures.shape[1] - side + 1)
        along = torch.arange(side, device=device)
        rows, columns = (edge.long().unsqueeze(1) + along for edge in corner)
        return pictures[chosen, rows[:, :, None], columns[:, None, :]].float() / 255

    picture, behind = cut(), cut()
    kind = torch.rand(count, 1, 1, 1, device=device)
    colour = torch.rand(count, 1, 1, 3, device=device)
    colour = torch.where(kind < 0.45, torch.ones_like(colour), colour)
    company = behind[..., :3] * behind[..., 3:] + colour * (1 - behind[..., 3:])
    background = torch.where(kind < 0.8, colour, company)
    rgb = picture[..., :3] * picture[..., 3:] + background * (1 - picture[..., 3:])
    order = torch.rand(count, 3, device=device).argsort(1)
    order = torch.where(
        torch.rand(count, 1, device=device) < 0.3, order, torch.arange(3, device=device)
    )
    rgb = rgb.gather(3, order[:, None, None].expand_as(rgb)).permute(0, 3, 1, 2)
    if torch.rand(()) < 0.5:
        rgb = rgb.flip(3)
    return functional.avg_pool2d(rgb, scale) * 2 - 1


def loss_of(vae: AutoencoderKL, originals: torch.Tensor) -> torch.Tensor:
    """Return the loss: absolute, squared, edge and coarse-picture error, and the KL term."""
    with torch.autocast(originals.device.type, torch.bfloat16):
        posterior = vae.encode(originals.contiguous(memory_format=torch.channels_last)).latent_dist
        mean, variance = posterior.mean.float(), posterior.logvar.float()
        latents = mean + torch.randn_like(mean) * (0.5 * variance).exp()
        decoded = vae.decode(latents).sample
    error = decoded.float() - originals
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    coarse = functional.avg_pool2d(error, 4).abs().mean()
    divergence = 0.5 * (mean.square() + variance.exp() - 1 - variance).mean()
    loss: torch.Tensor = (
        error.abs().mean()
        + error.square().mean()
        + 0.5 * edges
        + 0.5 * coarse
        + KL_WEIGHT * divergence
    )
    return loss


@torch.no_grad()
def normalise(vae: AutoencoderKL, pictures: torch.Tensor) -> None:
    """Fold each latent channel's mean and deviation into the weights: `scaling_factor` stays 1."""
    latents = torch.cat([vae.encode(crops(pictures, 64)).latent_dist.mean for _ in range(16)])
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    before, after = vae.quant_conv, vae.post_quant_conv
    before.weight[:4] /= deviation.view(4, 1, 1, 1)
    before.bias[:4] = (before.bias[:4] - mean) / deviation
    before.bias[4:] -= 2 * deviation.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= deviation.view(1, 4, 1, 1)


@torch.no_grad()
def psnr(vae: AutoencoderKL, rgb: np.ndarray) -> np.ndarray:
    """Return the PSNR of `vae` in dB on each of `rgb`, (pictures, height, width, 3) uint8."""
    ratios = []
    for start in range(0, len(rgb), 16):
        x = pixels(rgb[start : start + 16], vae.device)
        error = (vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1) - x) / 2
        ratios.append(-10 * error.square().mean((1, 2, 3)).log10().cpu().numpy())
    return np.concatenate(ratios)
