"""Hostile pictures: each is read, or refused in a sentence, and nothing else happens."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from PIL import Image

from stable_diffusion import decoding
from stable_diffusion.decoder_processes import DecoderProcesses, Limits
from stable_diffusion.request import InputError
from tests.support.pictures import picture_of
from tools.attacks.pictures import pictures

AT_ONCE = 4
SHORT = Limits(header_seconds=1, pixels_a_second=10**9)
"""Lest the slow ones take the time that they may."""


def test_a_hostile_picture_is_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    wrong: list[str] = []
    left = iter(pictures())

    async def read_some(decoders: DecoderProcesses, path: Path) -> None:
        for name, data in left:
            path.write_bytes(data)
            if fault := await fault_of(decoders, path):
                wrong.append(f"{name}: {fault}")

    async def main() -> None:
        decoders = DecoderProcesses(AT_ONCE, SHORT)
        await asyncio.gather(*(read_some(decoders, tmp_path / str(n)) for n in range(AT_ONCE)))
        picture_of().save(tmp_path / "ordinary.png")
        assert await fault_of(decoders, tmp_path / "ordinary.png") is None

    asyncio.run(main())
    assert wrong == []


async def fault_of(decoders: DecoderProcesses, path: Path) -> str | None:
    """What is wrong with how a picture is read; None if nothing is."""

    def read(*, read_picture: Any) -> tuple[Image.Image, list[str]]:
        picture: tuple[Image.Image, list[str]] = read_picture("image", path)
        return picture

    try:
        picture, _ = await decoders.run(read)
    except InputError as error:
        sentence = str(error)
        is_plain = sentence.startswith("image: the ") and sentence.isprintable()
        return None if is_plain and len(sentence) < 250 else sentence
    except Exception as error:
        return repr(error)
    is_bounded = 0 < picture.width * picture.height <= decoding.LARGEST_PIXELS
    return None if is_bounded and picture.mode == "RGB" else repr(picture)
