"""Pictures of a trained pipeline, by the project's own engine, and grids of them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from PIL import Image, ImageDraw

from stable_diffusion import catalogue, lora_files, models
from stable_diffusion.catalogue import Weights
from stable_diffusion.engine import Engine
from stable_diffusion.events import Event, Picture, until_finished
from stable_diffusion.request import Request


class Artist:
    """An engine with the pipeline in `folder`, in float32 on a CPU and in fp16 on a GPU."""

    def __init__(self, folder: Path) -> None:
        model = models.load(Weights(folder.name, folder, 128))
        self.loras = catalogue.loras(partial(lora_files.check, pipeline=model.pipeline))
        # It draws a few pictures of weights that are new each time: to compile them takes longer.
        self.engine = Engine(model, executor="plain", loras=self.loras)

    def close(self) -> None:
        """End the engine."""
        self.engine.close()

    def draw(self, asked: Sequence[Mapping[str, Any]]) -> list[Image.Image]:
        """Draw one picture for each set of inputs, named as in the API; black where none came."""
        queues: list[SimpleQueue[Event]] = []
        loras = self.loras.files()
        for inputs in asked:
            queues.append(SimpleQueue())
            self.engine.submit(Request.of(inputs, installed_loras=loras), queues[-1].put)
        return [_picture(queue) or Image.new("RGB", (128, 128)) for queue in queues]


def _picture(events: SimpleQueue[Event]) -> Image.Image | None:
    try:
        pictures = [e.image for e in until_finished(events) if isinstance(e, Picture)]
    except ArithmeticError:
        # Numbers that overflow make no picture: early in a training that is no surprise.
        return None
    return pictures[-1]


def grid(pictures: Sequence[Image.Image], titles: Sequence[str], columns: int = 10) -> Image.Image:
    """Return one picture of all `pictures` side by side, each under its title."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + 4), rows * (height + 18)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        row, column = divmod(index, columns)
        x, y = column * (width + 4), row * (height + 18)
        pen.text((x + 2, y + 1), title[: width // 6], fill="black")
        sheet.paste(picture, (x, y + 14))
    return sheet
