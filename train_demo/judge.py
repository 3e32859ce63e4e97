"""A small classifier of what a picture shows, trained on real pictograms only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from train_demo.captions import noun
from train_demo.pictograms import Pictogram

SIDE_PIXELS = 48  # of what it looks at


class Judge:
    """A classifier of nouns: "red apple" and "green apple" are both an apple.

    Args:
        nouns: that it knows, in the order of the network's scores.
        network: as `network` makes it, on its device.
    """

    def __init__(self, nouns: list[str], network: nn.Sequential) -> None:
        self.nouns, self.network = nouns, network.eval()

    @classmethod
    def train(
        cls,
        pictures: np.ndarray,
        shown: Sequence[Pictogram],
        width: int,
        steps: int,
        device: torch.device,
    ) -> Judge:
        """Train one.

        Args:
            pictures: (pictures, 256, 256, 4) red, green, blue, opacity, uint8.
            shown: what they are.
            width: channels of its first layer.
            steps: of training.
            device: where it computes.
        """
        nouns = sorted({noun(each.name) for each in shown})
        labels = torch.tensor([nouns.index(noun(each.name)) for each in shown], device=device)
        small = torch.cat(
            [shrunk(each) for each in np.array_split(pictures, len(pictures) // 256 + 1)]
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            untrained = network(width, len(nouns)).to(device)
            return cls(nouns, _trained(untrained, small.to(device), labels, steps))

    @classmethod
    def read(cls, path: Path, device: torch.device) -> Judge:
        """Read one that `save` has written."""
        with safe_open(path, "pt", device=str(device)) as file:
            nouns = json.loads(file.metadata()["nouns"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        judge = network(len(weights["0.weight"]), len(nouns)).to(device)
        judge.load_state_dict(weights)
        return cls(nouns, judge)

    def save(self, path: Path) -> None:
        """Write it in half precision."""
        weights = {
            name: each.half() if each.is_floating_point() else each
            for name, each in self.network.state_dict().items()
        }
        save_file(weights, path, {"nouns": json.dumps(self.nouns)})

    @torch.no_grad()
    def ranking(self, pictures: Sequence[Image.Image], in_colour: bool) -> list[list[str]]:
        """Return all nouns for each picture, likeliest first; by shape alone unless `in_colour`."""
        ranks = []
        for start in range(0, len(pictures), 64):
            rows = [
                np.asarray(
                    each.convert("RGB").resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BOX)
                )
                for each in pictures[start : start + 64]
            ]
            x = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255
            x = standardised(x if in_colour else grey(x)).to(next(self.network.parameters()).device)
            scores = self.network(x) + self.network(x.flip(-1))
            ranks += scores.argsort(1, descending=True).tolist()
        return [[self.nouns[index] for index in row] for row in ranks]


def _trained(
    network: nn.Sequential, pictures: torch.Tensor, labels: torch.Tensor, steps: int
) -> nn.Sequential:
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps + 1)
    network.train()
    for _ in range(steps):
        chosen = torch.randint(len(pictures), (64,), device=pictures.device)
        scores = network(altered(pictures[chosen]))
        loss = functional.cross_entropy(scores, labels[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network


def shrunk(pictures: np.ndarray) -> torch.Tensor:
    """Shrink `pictures`, (pictures, 256, 256, 4) uint8, to SIDE_PIXELS.

    Multiplied by their opacity first, so that no hidden colour bleeds in.

    Returns:
        (pictures, 4, SIDE_PIXELS, SIDE_PIXELS), 0 to 1.
    """
    large = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    large[:, :3] *= large[:, 3:]
    return functional.interpolate(large, (SIDE_PIXELS, SIDE_PIXELS), mode="area")


def network(width: int, classes: int) -> nn.Sequential:
    """Return a plain CNN: (pictures, 3, SIDE_PIXELS, SIDE_PIXELS) -> (pictures, classes)."""
    layers: list[nn.Module] = []
    channels = 3
    for _ in range(4):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels, width = width, 2 * width
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(4 * channels, classes),
    )


def altered(pictures: torch.Tensor) -> torch.Tensor:
    """Augment pictures: move, scale, rotate a little, mirror and blur; turn half of them grey.

    Args:
        pictures: (pictures, 4, SIDE_PIXELS, SIDE_PIXELS), 0 to 1, colours multiplied by opacity.

    Returns:
        (pictures, 3, SIDE_PIXELS, SIDE_PIXELS), standardised.
    """
    count, device = len(pictures), pictures.device

    def draw(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, device=device) * (high - low) + low

    angle, scale = draw(-0.25, 0.25), draw(0.9, 1.4)
    mirrored = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = [
        torch.stack([cosine * mirrored, -sine, draw(-0.2, 0.2)], 1),
        torch.stack([sine * mirrored, cosine, draw(-0.2, 0.2)], 1),
    ]
    places = functional.affine_grid(torch.stack(rows, 1), list(pictures.shape), align_corners=False)
    moved = functional.grid_sample(pictures, places, align_corners=False)
    white = draw(0, 1) < 0.6
    background = torch.where(white, torch.ones_like(angle), draw(0, 1)).view(-1, 1, 1, 1)
    # In grey with any weight of each colour, so that it learns no brightness by heart.
    weights = torch.rand(count, 3, 1, 1, device=device) + 0.1
    weights = weights / weights.sum(1, keepdim=True)
    colourless = (draw(0, 1) < 0.5).view(-1, 1, 1, 1)
    rgb = torch.where(colourless, grey(moved[:, :3] * 3 * weights), moved[:, :3])
    rgb = rgb + background * (1 - moved[:, 3:])
    if torch.rand(()) < 0.5:
        coarse = functional.avg_pool2d(rgb, 2)
        rgb = functional.interpolate(coarse, scale_factor=2, mode="bilinear")
    return standardised(rgb + 0.03 * torch.randn_like(rgb))


def grey(rgb: torch.Tensor) -> torch.Tensor:
    """Return `rgb`, (pictures, 3, height, width), with the mean of its colours in all three."""
    return rgb.mean(1, keepdim=True).expand_as(rgb)


def standardised(rgb: torch.Tensor) -> torch.Tensor:
    """Return each picture with mean 0 and standard deviation 1."""
    mean, deviation = rgb.mean((1, 2, 3), keepdim=True), rgb.std((1, 2, 3), keepdim=True)
    return (rgb - mean) / (deviation + 0.02)
