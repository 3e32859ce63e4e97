from __future__ import annotations

import torch

from scripts.train_demo import autoencoder


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


def test_an_exact_copy_has_the_highest_ratio() -> None:
    vae = autoencoder.new((8, 8, 16, 16)).eval()
    rgb = pictures()[..., :3].numpy()
    assert (autoencoder.psnr(vae, rgb) < 30).all(), "untrained"
