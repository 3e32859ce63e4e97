"""The command lines of Stable Diffusion's reference scripts, over the engine here.

Source: scripts/txt2img.py, img2img.py and inpaint.py of CompVis/stable-diffusion; the first two of
Stability-AI/stablediffusion.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from stable_diffusion.engine import Engine
    from stable_diffusion.events import Event
    from stable_diffusion.request import InputError

LATENT_CHANNELS, LATENT_FACTOR = 4, 8
"""Of every Stable Diffusion; the scripts' --C and --f, which can be nothing else."""
LARGEST_SIDE = 1024
"""Pixels of a side that is drawn."""
STEP = 64
"""Pixels by which the sides of what is drawn differ."""
GRID_PADDING = 2
"""Pixels between the pictures of a grid, as torchvision's `make_grid` leaves them."""
SAMPLE_FLAGS = {
    "width": "--W",
    "height": "--H",
    "guidance_scale": "--scale",
    "num_inference_steps": "--ddim_steps",
    "seed": "--seed",
    "eta": "--ddim_eta",
    "strength": "--strength",
    "prompt": "--prompt",
    "image": "--init-img",
}
INPAINTING_FLAGS = {"num_inference_steps": "--steps", "seed": "--seed", "prompt": "--prompt"}
FLAGS = {"txt2img": SAMPLE_FLAGS, "img2img": SAMPLE_FLAGS, "inpaint": INPAINTING_FLAGS}
"""By our names for inputs, each script's flags."""


@dataclass(frozen=True)
class Defaults:
    """What a script takes for flags that are left out; by Stable Diffusion 1 and 2."""

    scale: tuple[float, float]
    iterations: tuple[int, int]
    strength: tuple[float, float] = (1.0, 1.0)


TXT2IMG = Defaults(scale=(7.5, 9.0), iterations=(2, 3))
IMG2IMG = Defaults(scale=(5.0, 9.0), iterations=(1, 1), strength=(0.75, 0.8))


class UsageError(Exception):
    """A flag can't be used; the message names it."""


def main() -> int:
    """Run the script that is named first; return 0, or 2 for wrong input, 1 for a failure."""
    scripts = {"txt2img": _draw_samples, "img2img": _draw_samples, "inpaint": _inpaint}
    name = sys.argv[1]
    arguments = _parser(name).parse_args(sys.argv[2:])
    if getattr(arguments, "device", None) == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""

    from stable_diffusion.catalogue import SetupError
    from stable_diffusion.request import InputError

    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            return scripts[name](arguments)
        except UsageError as error:
            print(error, file=sys.stderr)
            return 2
        except InputError as error:
            print(*_named(error, FLAGS[name]), sep="\n", file=sys.stderr)
            return 2
        except (SetupError, ArithmeticError, MemoryError, RuntimeError, OSError) as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("stopped; what was finished is there", file=sys.stderr)
            return 130


def _draw_samples(arguments: argparse.Namespace) -> int:
    """Draw samples of prompts, and their grid; return 0."""
    from stable_diffusion.request import Request

    _check(arguments)
    starts_from_image = hasattr(arguments, "init_img")
    chunks = list(_chunks(arguments))
    inputs: dict[str, Any] = {
        "num_inference_steps": arguments.steps,
        "scheduler": _scheduler(arguments),
    }
    if arguments.ddim_eta:
        inputs["eta"] = arguments.ddim_eta
    if starts_from_image:
        inputs |= _start(arguments.init_img)
    else:
        inputs |= {"width": arguments.W, "height": arguments.H}
    if arguments.scale is not None:
        inputs["guidance_scale"] = arguments.scale
    if starts_from_image and arguments.strength is not None:
        inputs["strength"] = arguments.strength
    for prompt in dict.fromkeys(prompt for chunk in chunks for prompt in chunk):
        Request.of({**inputs, "prompt": prompt, "seed": arguments.seed})
    folder = Path(arguments.outdir)
    samples = folder / "samples"
    samples.mkdir(parents=True, exist_ok=True)

    with closing(_engine(arguments, "img2img")) as engine:
        is_second = engine.model.is_second
        defaults = IMG2IMG if starts_from_image else TXT2IMG
        inputs.setdefault("guidance_scale", defaults.scale[is_second])
        if starts_from_image:
            inputs.setdefault("strength", defaults.strength[is_second])
        iterations = arguments.n_iter or defaults.iterations[is_second]
        asked = _numbered(arguments, chunks, iterations)
        drawn = asyncio.run(_draw_all(engine, inputs, asked, arguments, samples))
        if drawn and not arguments.skip_grid:
            number = _next_number(folder, "grid-*.png")
            columns = arguments.n_rows or arguments.n_samples
            _grid(drawn, columns, is_second).save(folder / f"grid-{number:04}.png")
    print(f"Your samples are ready and waiting for you here: \n{folder} \n \nEnjoy.")
    return 0


async def _draw_all(
    engine: Engine,
    inputs: dict[str, Any],
    asked: Sequence[Sequence[tuple[str, int]]],
    arguments: argparse.Namespace,
    samples: Path,
) -> list[Image.Image]:
    """Draw everything, a batch of prompts with their seeds at once; return it in its order."""
    from tqdm import tqdm

    from stable_diffusion import images

    number, drawn = _next_number(samples, "*.png"), []
    with tqdm(desc="Sampling", total=sum(map(len, asked)), disable=None) as bar:
        for batch in asked:
            for path in await asyncio.gather(
                *(
                    _draw(engine, {**inputs, "prompt": prompt, "seed": seed}, bar)
                    for prompt, seed in batch
                )
            ):
                bar.update()
                if path is None:
                    continue
                if not arguments.skip_grid:
                    drawn.append(images.read_image(path))
                if not arguments.skip_save:
                    shutil.move(path, samples / f"{number:05}.png")
                    number += 1
    return drawn


async def _draw(engine: Engine, inputs: dict[str, Any], bar: Any) -> Path | None:
    """Draw one picture and return its file; None where the NSFW checker has flagged it."""
    from stable_diffusion.events import Flagged, NothingRepainted, PromptTruncated
    from stable_diffusion.request import Request
    from stable_diffusion.results import generate_files
    from stable_diffusion.safety import NsfwError

    def tell(event: Event) -> None:
        if isinstance(event, PromptTruncated | NothingRepainted | Flagged):
            bar.write(event.warning, file=sys.stderr)

    try:
        (path,) = [path async for _, path in generate_files(engine, Request.of(inputs), tell)]
    except NsfwError:
        return None
    return path


def _inpaint(arguments: argparse.Namespace) -> int:
    """Repaint the white part of every picture that has a mask beside it.

    Return 2 where that can't be done with one of them, else 0.
    """
    from PIL import Image
    from tqdm import tqdm

    from stable_diffusion.request import InputError, Request

    if not arguments.indir or not arguments.outdir:
        raise UsageError("--indir, --outdir: give both")
    inputs = {
        "prompt": arguments.prompt,
        "guidance_scale": 7.5 if arguments.prompt else 1,
        "num_inference_steps": arguments.steps,
        "strength": 1,
        "scheduler": "DDIM",
        "seed": arguments.seed,
    }
    Request.of(inputs)
    masks = sorted(Path(arguments.indir).glob("*_mask.png"))
    print(f"Found {len(masks)} inputs.")
    folder = Path(arguments.outdir)
    folder.mkdir(parents=True, exist_ok=True)
    status = 0
    with closing(_engine(arguments, "inpainting")) as engine, tqdm(masks, disable=None) as bar:
        for mask in bar:
            name = f"{mask.stem.removesuffix('_mask')}.png"
            files = {"image": mask.with_name(name), "mask": mask}
            try:
                pair = {role: _picture(role, file) for role, file in files.items()}
                values = {**inputs, **pair, "keep_size": True}
                path = asyncio.run(_draw(engine, values, bar))
            except InputError as error:
                bar.write("\n".join(_named(error, files)), file=sys.stderr)
                status = 2
                continue
            if not path:
                continue
            with Image.open(path) as drawn:
                sizes = ["{} × {}".format(*one.size) for one in (pair["image"], drawn)]
            if sizes[0] != sizes[1]:
                note = f"{files['image']}: its {sizes[0]} px are scaled to {sizes[1]} px"
                bar.write(note, file=sys.stderr)
            shutil.move(path, folder / name)
    return status


def _picture(role: str, file: Path) -> Image.Image:
    """Read an image or a mask.

    Raises:
        InputError: when it can't be read.
    """
    from stable_diffusion import images
    from stable_diffusion.request import InputError

    try:
        return images.read_picture(role, file)[0]
    except OSError as error:
        raise InputError(f"{role}: {error.strerror or error}") from None


def _named(error: InputError, names: Mapping[str, object]) -> Iterator[str]:
    """Yield an error's sentences, which begin with what the user gave an input by.

    Args:
        names: of that, by our names for inputs.
    """
    for fault in error.faults:
        ours, _, rest = fault.partition(":")
        yield f"{names.get(ours, ours)}:{rest}"


def _engine(arguments: argparse.Namespace, task: str) -> Engine:
    """Load the model that --ckpt names, for a task, and return the engine that draws by it."""
    from stable_diffusion import catalogue, models

    weights = catalogue.find(arguments.ckpt, task)
    full = "float32" if getattr(arguments, "precision", None) == "full" else None
    dtype = "bfloat16" if getattr(arguments, "bf16", False) else full
    loaded = models.load(weights, dtype or os.environ.get("DTYPE") or None)
    if getattr(arguments, "device", None) == "cuda" and loaded.device.type != "cuda":
        raise UsageError("--device: there is no GPU here; give cpu, or leave it out")

    from stable_diffusion.engine import Engine
    from stable_diffusion.startup import checker_beside

    # What makes many pictures faster takes longer to get ready than a few take.
    executor = os.environ.get("EXECUTOR") or "plain"
    return Engine(loaded, None, checker_beside(loaded), executor)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what would mean another picture than the scripts', and say what does nothing."""
    if getattr(arguments, "laion400m", False):
        raise UsageError("--laion400m: that older model is not here; leave it out")
    if (arguments.C, arguments.f) != (LATENT_CHANNELS, LATENT_FACTOR):
        raise UsageError(
            "--C, --f: every model here has 4 channels and the factor 8; leave them out"
        )
    for name, least in (("n_iter", 1), ("n_samples", 1), ("n_rows", 0), ("repeat", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise UsageError(f"--{name}: {value} is not allowed; give a number from {least} on")
    if hasattr(arguments, "init_img") and not arguments.init_img:
        raise UsageError("--init-img: is required")
    for name in ("config", "torchscript", "ipex"):
        if getattr(arguments, name):
            print(f"--{name}: has no effect here", file=sys.stderr)


def _chunks(arguments: argparse.Namespace) -> Iterator[list[str]]:
    """Yield the prompts of each batch."""
    size = arguments.n_samples
    if not arguments.from_file:
        yield [arguments.prompt] * size
        return
    print(f"reading prompts from {arguments.from_file}")
    try:
        lines = Path(arguments.from_file).read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"--from-file: {arguments.from_file} is no text in UTF-8") from None
    prompts = [line for line in lines for _ in range(arguments.repeat)]
    if not prompts:
        raise UsageError(f"--from-file: {arguments.from_file} has no line")
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size]


def _numbered(
    arguments: argparse.Namespace, chunks: Sequence[Sequence[str]], iterations: int
) -> list[list[tuple[str, int]]]:
    """Return each batch's prompts with their seeds.

    A seed is the next for each picture, and after the last the first; with --fixed_code, it is that
    of its place in the batch.
    """
    from stable_diffusion.request import SEEDS

    batches, count = [], 0
    for chunk in [chunk for _ in range(iterations) for chunk in chunks]:
        first = 0 if arguments.fixed_code else count
        seed = arguments.seed + first
        batches.append([(prompt, (seed + at) % SEEDS) for at, prompt in enumerate(chunk)])
        count += len(chunk)
    return batches


def _scheduler(arguments: argparse.Namespace) -> str:
    if arguments.dpm:
        return "DPMSolverMultistep"
    return "PNDM" if arguments.plms else "DDIM"


def _start(file: str) -> dict[str, Any]:
    """Return the inputs of the image to start from: fitted to multiples of 64, without cropping."""
    from PIL import Image

    from stable_diffusion import images

    if not Path(file).is_file():
        raise UsageError(f"--init-img: there is no file {file!r}")
    image = images.read_image(Path(file))
    print(f"loaded input image of size ({image.width}, {image.height}) from {file}")
    factor = min(1, LARGEST_SIDE / max(image.size))
    width, height = (round(side * factor) // STEP * STEP for side in image.size)
    if min(width, height) < STEP:
        raise UsageError(f"--init-img: {file!r} is too small, or too narrow; give {STEP} px a side")
    fitted = image.resize((width, height), Image.Resampling.LANCZOS)
    return {"image": fitted, "width": width, "height": height}


def _next_number(folder: Path, pattern: str) -> int:
    """Return the number after those of the files in a folder."""
    digits = ["".join(filter(str.isdecimal, path.stem)) for path in folder.glob(pattern)]
    return max((int(one) for one in digits if one), default=-1) + 1


def _grid(pictures: Sequence[Image.Image], columns: int, is_second: bool) -> Image.Image:
    """Return pictures of one size in rows, on black, with the watermark."""
    from PIL import Image

    from stable_diffusion import watermark

    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = (side + GRID_PADDING for side in pictures[0].size)
    size = columns * width + GRID_PADDING, rows * height + GRID_PADDING
    grid = Image.new("RGB", size)
    for at, picture in enumerate(pictures):
        row, column = divmod(at, columns)
        grid.paste(picture, (column * width + GRID_PADDING, row * height + GRID_PADDING))
    return watermark.lay(grid, mark=watermark.MARK_2 if is_second else watermark.MARK)


def _parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a script's flags: those of both its versions."""
    parser = argparse.ArgumentParser(
        prog=f"scripts/{name}",
        description="As the reference script of this name, over the engine here.",
    )
    if name == "inpaint":
        _add_inpainting(parser)
        return parser
    prompt = "a painting of a virus monster playing guitar"
    parser.add_argument("--prompt", nargs="?", default=prompt, help="the prompt to render")
    if name == "img2img":
        parser.add_argument("--init-img", nargs="?", help="path to the input image")
        parser.add_argument(
            "--strength",
            type=float,
            help="1.0 ignores the image; 0.75, and 0.8 with Stable Diffusion 2",
        )
    parser.add_argument("--outdir", nargs="?", default=f"outputs/{name}-samples")
    parser.add_argument("--skip_grid", action="store_true", help="save no grid")
    parser.add_argument("--skip_save", action="store_true", help="save no single samples")
    parser.add_argument("--ddim_steps", "--steps", dest="steps", type=int, default=50)
    parser.add_argument("--plms", action="store_true", help="use PLMS sampling")
    parser.add_argument(
        "--dpm_solver", "--dpm", dest="dpm", action="store_true", help="use DPM-Solver++"
    )
    parser.add_argument(
        "--fixed_code", action="store_true", help="start each batch from the same noise"
    )
    parser.add_argument("--ddim_eta", type=float, default=0.0, help="0.0 adds no noise")
    times = TXT2IMG if name == "txt2img" else IMG2IMG
    parser.add_argument(
        "--n_iter",
        type=int,
        help="sample this often; {}, and {} with Stable Diffusion 2".format(*times.iterations),
    )
    if name == "txt2img":
        parser.add_argument("--H", type=int, default=512, help="height in px")
        parser.add_argument("--W", type=int, default=512, help="width in px")
        parser.add_argument("--laion400m", action="store_true", help="refused: not here")
    parser.add_argument("--C", type=int, default=LATENT_CHANNELS, help="4 alone")
    parser.add_argument("--f", type=int, default=LATENT_FACTOR, help="8 alone")
    parser.add_argument(
        "--n_samples",
        type=int,
        default=3 if name == "txt2img" else 2,
        help="samples of each prompt, or prompts of a file, that are drawn at once",
    )
    parser.add_argument("--n_rows", type=int, default=0, help="columns of the grid; else n_samples")
    parser.add_argument(
        "--scale",
        type=float,
        help="guidance; {}, and {} with Stable Diffusion 2".format(*times.scale),
    )
    parser.add_argument("--from-file", help="a file with a prompt on each line")
    parser.add_argument("--repeat", type=int, default=1, help="how often each line is drawn")
    parser.add_argument("--config", help="has no effect: a checkpoint says what it is")
    parser.add_argument("--ckpt", help="checkpoint, folder, or the name of a model here")
    parser.add_argument("--seed", type=int, default=42, help="of the first picture")
    parser.add_argument("--precision", choices=["full", "autocast"], default="autocast")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="a GPU, where there is one")
    parser.add_argument("--torchscript", action="store_true", help="has no effect")
    parser.add_argument("--ipex", action="store_true", help="has no effect")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    return parser


def _add_inpainting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--indir", nargs="?", help="folder of pairs: `example.png` and `example_mask.png`"
    )
    parser.add_argument("--outdir", nargs="?", help="folder of the results")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--prompt", default="", help="what to see there; the script had none")
    parser.add_argument("--ckpt", help="checkpoint, folder, or the name of a model here")
    parser.add_argument("--seed", type=int, default=42)


if __name__ == "__main__":
    sys.exit(main())
