from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.pictograms import packed
from train_demo import autoencoder
from train_demo.progress import Log, TrainingError
from train_demo.settings import PRESETS
from train_demo.stopping import Stop


def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 4, 8, 8, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (256, 256), mode="bicubic").clamp(0, 1)
    return (fine * 255).byte().permute(0, 2, 3, 1).contiguous()


def test_crops_are_pictures_in_the_range_of_the_autoencoder() -> None:
    torch.manual_seed(0)
    for _ in range(8):
        crops = autoencoder.crops(pictures(), 5)
        assert crops.shape == (5, 3, 64, 64)
        assert crops.min() >= -1
        assert crops.max() <= 1
        assert crops.std((1, 2, 3)).max() > 0.02


def test_latents_are_normalised_and_the_picture_stays() -> None:
    torch.manual_seed(0)
    vae = autoencoder.new((8, 8, 16, 16)).eval()
    with torch.no_grad():
        vae.quant_conv.bias[:4] = torch.tensor([1.0, -2.0, 3.0, 0.5])
        crops = autoencoder.crops(pictures(), 8)
        before = vae.decode(vae.encode(crops).latent_dist.mean).sample
        autoencoder.normalise(vae, pictures())
        latents = vae.encode(
            torch.cat([autoencoder.crops(pictures(), 64) for _ in range(8)])
        ).latent_dist.mean
        after = vae.decode(vae.encode(crops).latent_dist.mean).sample
    assert latents.mean((0, 2, 3)).abs().max() < 0.3
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.3
    torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-3)


class Shifted:
    """An autoencoder that gives back every picture a little brighter."""

    device = torch.device("cpu")

    def encode(self, pixels: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=pixels))

    def decode(self, latents: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=latents + 0.2)


def test_the_ratio_is_that_of_the_error() -> None:
    vae: Any = Shifted()
    grey = np.full((3, 16, 16, 3), 100, np.uint8)
    # An error of 0.1 of the range: 20 dB.
    assert autoencoder.psnr(vae, grey).tolist() == pytest.approx([20, 20, 20], abs=0.01)


def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    pictures = packed(tmp_path / "pictograms.zip")
    log, checkpoint = Log(tmp_path / "log.txt"), tmp_path / "autoencoder.pt"
    settings = dataclasses.replace(PRESETS["smoke"], autoencoder_minutes=0.02)
    more = dataclasses.replace(settings, autoencoder_minutes=0.04)
    with torch.inference_mode(mode=False):
        vae = autoencoder.new(settings.autoencoder_channels)
        autoencoder.train(vae, pictures, settings, checkpoint, log, Stop())
        autoencoder.train(vae, pictures, more, checkpoint, log, Stop())
    assert "autoencoder: goes on from step 2," in log.path.read_text()
    assert torch.load(checkpoint)["step"] == 4


def test_a_training_whose_loss_is_never_finite_ends_as_it_began(tmp_path: Path) -> None:
    pictures = packed(tmp_path / "pictograms.zip")
    log, checkpoint = Log(tmp_path / "log.txt"), tmp_path / "autoencoder.pt"
    with torch.inference_mode(mode=False):
        vae = autoencoder.new(PRESETS["smoke"].autoencoder_channels)
        vae.decoder.conv_out.register_forward_hook(lambda *_: torch.tensor(float("nan")))
        begin = vae.encoder.conv_in.weight.clone()
        with pytest.raises(TrainingError, match="not finite, the last of 3 times"):
            autoencoder.train(vae, pictures, PRESETS["smoke"], checkpoint, log, Stop())
    assert torch.equal(vae.encoder.conv_in.weight, begin)
    assert log.path.read_text().count("back to step 0") == 2
