"""The networks that enlarge here, by the names that AUTOMATIC1111's clients give."""

from __future__ import annotations

from collections.abc import Sequence

NAMES = {
    "R-ESRGAN 4x+": "RealESRGAN_x4plus",
    "R-ESRGAN 4x+ Anime6B": "RealESRGAN_x4plus_anime_6B",
    "R-ESRGAN 2x+": "RealESRGAN_x2plus",
}
"""What it calls files of Real-ESRGAN.

Source: AUTOMATIC1111/stable-diffusion-webui, modules/realesrgan_model.py.
"""


def find(name: str, installed: Sequence[str]) -> str | None:
    """Return which of the installed networks a name means; None where it is none of them."""
    wanted = NAMES.get(name, name).lower()
    return next((one for one in installed if one.lower() == wanted), None)
