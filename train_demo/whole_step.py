"""A whole step of the training: loss, gradient, AdamW and the moving average."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import AdamW

from train_demo.denoiser import Denoiser, noise_schedule
from train_demo.sampling import Batch

PLAIN_ATTENTION = (SDPBackend.MATH,)
LARGEST_NORM = 1.0


class WholeStep:
    """A step as a function of tensors alone, without waiting for the device.

    Args:
        denoiser: is trained.
        averaged: the moving average of its weights.
        optimizer: of all its weights, by `state.adamw`.

    Attributes:
        renewed: the share of the average that the new weights take the place of, a tensor.
    """

    def __init__(self, denoiser: Denoiser, averaged: Denoiser, optimizer: AdamW) -> None:
        self.denoiser, self.optimizer = denoiser, optimizer
        self.weights: list[torch.Tensor] = [*denoiser.parameters()]
        self.averages: list[torch.Tensor] = [*averaged.parameters()]
        device = self.weights[0].device
        self.alphas = noise_schedule().alphas_cumprod.to(device)
        self.renewed = torch.ones((), device=device)

    def __call__(
        self, batch: Batch, attention: Sequence[SDPBackend] = PLAIN_ATTENTION
    ) -> torch.Tensor:
        """Take a step; return its loss and the norm of the gradient, (2,).

        Args:
            batch: to learn from.
            attention: the backends that may compute it.
        """
        self.optimizer.zero_grad(set_to_none=True)
        with sdpa_kernel(list(attention)):
            loss = loss_of(self.denoiser, batch, self.alphas)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.weights, LARGEST_NORM)
        self.optimizer.step()
        with torch.no_grad():
            changes = torch._foreach_sub(self.weights, self.averages)
            torch._foreach_mul_(changes, self.renewed)
            torch._foreach_add_(self.averages, changes)
        return torch.stack([loss.detach(), norm])


def loss_of(denoiser: Denoiser, batch: Batch, alphas: torch.Tensor) -> torch.Tensor:
    """Return the weighted squared error of velocities (arXiv 2202.00512, weights of 2303.09556).

    Args:
        denoiser: predicts them.
        batch: of which.
        alphas: `alphas_cumprod` of the noise schedule, on the device.
    """
    latents, noise = batch.latents, batch.noise
    alpha = alphas[batch.timesteps].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    # Without the cache of cast weights, which must not outlive a captured step.
    with torch.autocast(latents.device.type, torch.bfloat16, cache_enabled=False):
        predicted = denoiser.unet(
            noisy.contiguous(memory_format=torch.channels_last),
            batch.timesteps,
            encoder_hidden_states=denoiser.text_encoder(batch.tokens)[0],
        ).sample
    # min(SNR + 1, 6) / (SNR + 1): the plain form is zero where the noise is pure.
    weight = torch.clamp(1 / (1 - alpha), max=6) * (1 - alpha)
    loss: torch.Tensor = ((predicted.float() - velocity).square() * weight).mean()
    return loss
