"""The outputs of a request: its pictures, written as files."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import infotext
from stable_diffusion import __version__, content_credentials, images, watermark
from stable_diffusion.catalogue import TASKS, Weights
from stable_diffusion.content_credentials import Signer
from stable_diffusion.engine import Engine
from stable_diffusion.events import Event, Failed, Finished, Measured, Picture
from stable_diffusion.models import Model
from stable_diffusion.request import EXTENSIONS, Request

FITTING = {
    "result_size": None,
    "only_masked": False,
    **dict.fromkeys(EXTENSIONS, 0),
    "keep_size": False,
    "resize_mode": "crop",
    "crop": None,
}
"""The inputs by which the image is fitted and the result gets its size, and their defaults."""
KEPT_SECONDS = 600
"""Seconds that finished files are kept: Cog reads them once, and doesn't say when."""


async def generate_files(
    engine: Engine,
    request: Request,
    tell: Callable[[Event], None],
    with_previews: bool = False,
    signer: Signer | None = None,
) -> AsyncGenerator[tuple[Picture, Path], None]:
    """Run a request; yield its pictures with their files, in order.

    When it fails or is cancelled no file is left.

    Args:
        tell: takes all other events of the engine, and `Measured` at the end.
        with_previews: whether previews are among them, where the engine makes any.
        signer: signs the files; None leaves them unsigned.
    """
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Event] = asyncio.Queue()
    folder: Path | None = None

    def listen(event: Event) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            loop.call_soon_threadsafe(events.put_nowait, event)

    job = engine.submit(request, listen, with_previews)
    try:
        while not isinstance(event := await events.get(), Finished):
            match event:
                case Picture() as picture:
                    folder = folder or new_folder()
                    path = folder / f"{folder.name}-{picture.index}.{request.output_format}"
                    with job.measurement.phase("save"):
                        await _to_its_end(_write, picture, path, request, engine.model, signer)
                    yield picture, path
                case Failed(error):
                    raise error
                case _:
                    tell(event)
        tell(Measured(job.measurement))
    except BaseException:
        job.cancel()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise


async def _to_its_end(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in a thread; when cancelled, wait for it, since the thread goes on."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise


def _write(
    picture: Picture, path: Path, request: Request, model: Model, signer: Signer | None
) -> None:
    image, weights = picture.image, model.weights
    if picture.generated:
        mark = watermark.MARK_2 if model.is_second else watermark.MARK
        image = watermark.lay(image, picture.generated, mark)
    metadata = metadata_of(request, picture, weights)
    inputs = {
        name: value for name, value in metadata.items() if name != "strength" or request.image
    }
    if request.mask:
        inputs |= {"mask_blur": request.mask_blur, "invert_mask": request.invert_mask}
    # Of two passes the first one's: pasted elsewhere, it is not enlarged twice.
    size = (picture.drawn_size if request.refine_scale > 1 else None) or image.size
    text = infotext.write(inputs, size, picture.seed, weights.name)
    sign = None
    if signer:
        manifest = content_credentials.manifest_of(request, picture, weights)
        sign = partial(signer.sign, file_format=request.output_format, manifest=manifest)
    images.save(image, path, request.output_format, request.output_quality, metadata, text, sign)


def metadata_of(request: Request, picture: Picture, weights: Weights) -> dict[str, Any]:
    """Return the metadata of a picture's file: the inputs that it was made from.

    `FITTING` are told where they were given; with one of them the result's size may not be that of
    `width` and `height`, so that these are told, too.
    """
    amount = TASKS[weights.task].amount
    fitting = {
        name: getattr(request, name)
        for name, usual in FITTING.items()
        if getattr(request, name) != usual
    }
    if fitting:
        width, height = picture.drawn_size or (None, None)
        fitting |= {"width": width, "height": height, "resample": request.resample}
    if request.only_masked:
        fitting["only_masked_padding"] = request.only_masked_padding
    if request.result_size:
        fitting["result_size"] = "{}x{}".format(*request.result_size)
    if request.crop:
        fitting["crop"] = ",".join(map(str, request.crop))
    return {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": picture.seed,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        amount: getattr(request, amount),
        "scheduler": request.scheduler,
        "spacing": request.spacing,
        "eta": request.eta,
        "clip_skip": request.clip_skip,
        "use_compel": request.use_compel,
        **({"loras": list(map(str, request.loras))} if request.loras else {}),
        **fitting,
        **({"tiling": True} if request.tiling else {}),
        **_refining(request),
        "model": weights.name,
        "version": __version__,
    }


def _refining(request: Request) -> dict[str, Any]:
    """Return the inputs of the second pass, if there is one."""
    if request.refine_scale == 1:
        return {}
    return {
        "refine_scale": request.refine_scale,
        "refine_strength": request.refine_strength,
        "refine_steps": request.refine_steps or request.num_inference_steps,
        **({"upscaler": request.upscaler} if request.upscaler else {}),
    }


def new_folder() -> Path:
    """Make an empty folder for one prediction's files; remove those of old predictions."""
    root = _root()
    for folder in root.iterdir():
        if folder.stat().st_mtime < time.time() - KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix="", dir=root))


def _root() -> Path:
    """Return the folder for the folders of all predictions, where no other account can look."""
    root = Path(tempfile.gettempdir()) / f"stable-diffusion-{os.getuid()}"
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    there = root.lstat()
    is_own_folder = stat.S_ISDIR(there.st_mode) and there.st_uid == os.getuid()
    return root if is_own_folder and stat.S_IMODE(there.st_mode) == 0o700 else _other_root()


@cache
def _other_root() -> Path:
    """Return another, of a name that nobody could guess and take before."""
    return Path(tempfile.mkdtemp(prefix="stable-diffusion-"))
