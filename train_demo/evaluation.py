"""An evaluation of how well a model draws prompts: figures in EVALUATION.md, and grids."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from cog_schema.schema import ROOT
from train_demo import autoencoder, vocabulary
from train_demo.captions import held_out, noun, plain, with_article
from train_demo.drawing import Artist, grid
from train_demo.judge import Judge
from train_demo.pictograms import Pictogram, pictograms, read, resized
from train_demo.progress import write
from train_demo.settings import Settings
from train_demo.variants import HUES, WHITE, hue_distance, hue_of, on, to_hsv, with_hue

EXAMPLES = ROOT / "examples"
EVERYDAY = json.loads(Path(__file__).with_name("everyday.json").read_text())
"""`judged`: prompts as people type them, with the names of what may be drawn; `looked_at`: more."""
ASKED = {"num_inference_steps": 16, "guidance_scale": 5.0, "scheduler": "DPMSolverMultistep"}
EFFECTS = 16  # prompts for each figure on the effect of an input
LARGE = {384: 8, 512: 4}  # sizes beyond the trained ones, and how many names are drawn there
WELL = 0.7
"""The share of names that must be drawn right at a size for it to be one of the vocabulary's."""
HUE_SHARE = 0.02  # of the area must be coloured for a picture to have a colour


@dataclass(frozen=True)
class Prompt:
    """A prompt, with the nouns any of which the picture must show, and the colour."""

    text: str
    nouns: tuple[str, ...]
    colour: str = ""

    @property
    def noun(self) -> str:
        """The noun, of those with a single one."""
        return self.nouns[0]


class Evaluation:
    """Figures of the pipeline in `folder`, which was trained on the packed file `pictures`."""

    def __init__(self, folder: Path, pictures: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        index = pictograms(pictures)
        self.known = [each for each in index if each.is_learned]
        nouns = {noun(each.name) for each in self.known}
        self.unseen = [e for e in index if not e.is_learned and noun(e.name) in nouns]
        self.nouns = sorted(nouns)
        self.rgba, self.unseen_rgba = read(self.known, pictures), read(self.unseen, pictures)
        self.random = random.Random(0)
        self.names, self.styles, self.colours = self._names(), self._styles(), self._colours()
        self.everyday = self._everyday()
        self.right_at: dict[int, float] = {}  # share of names, by size in pixels
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def write(self, log: Callable[[str], None]) -> None:
        """Measure everything; write EVALUATION.md, grids, judge and vocabulary into the folder."""
        settings = self.settings
        lines = [TITLE.format(names=len({e.name for e in self.known}), device=self.device.type)]
        log("evaluates the autoencoder")
        lines += self._autoencoder()
        self.judge = self._find_judge(log)
        lines += self._judge_itself()
        self.artist = Artist(self.folder)
        try:
            for size in settings.batch:
                log(f"draws at {size} px")
                lines += self._retrieval(size)
            self._draw_to_look_at()
            log("draws larger pictures")
            lines += self._large()
            log("tries strength, guidance, negative prompts and weights")
            lines += [*self._strength(), *self._guidance(), *self._negative(), *self._weights()]
        finally:
            self.artist.close()
        (self.folder / "EVALUATION.md").write_text("\n".join(lines) + "\n")
        sizes = [size for size, share in sorted(self.right_at.items()) if share >= WELL]
        vocabulary.write(self.folder, self.known, sizes)

    def _find_judge(self, log: Callable[[str], None]) -> Judge:
        """Return the judge in the folder if it knows these nouns; else train one, and keep it."""
        file, settings = self.folder / "judge.safetensors", self.settings
        judge = Judge.read(file, self.device) if file.exists() else None
        if judge is None or judge.nouns != self.nouns:
            log("trains the judge")
            trained = Judge.train(
                self.rgba, self.known, settings.judge_width, settings.judge_steps, self.device
            )
            write(file, trained.save)
            judge = Judge.read(file, self.device)
        return judge

    # Prompts

    def _names(self) -> list[Prompt]:
        """Return prompts for the trained names, as they are."""
        names = sorted({each.name for each in self.known})
        return self._some([Prompt(with_article(plain(name)), (noun(name),)) for name in names])

    def _everyday(self) -> list[Prompt]:
        """Return prompts as people type them, of what was learned."""
        prompts = [
            Prompt(text, tuple(sorted({noun(name) for name in names} & set(self.nouns))))
            for text, names in EVERYDAY["judged"].items()
        ]
        return [prompt for prompt in prompts if prompt.nouns]

    def _styles(self) -> list[Prompt]:
        """Return prompts for names in a style that this name was never seen in."""
        pairs = [each for each in self.known if held_out(each.name, style=each.package)]
        return self._some(
            [Prompt(f"{plain(each.name)}, {each.style[-1]}", (noun(each.name),)) for each in pairs]
        )

    def _colours(self) -> list[Prompt]:
        """Return prompts for names in a colour that they were never seen in, each in some style."""
        own: dict[str, set[str]] = {}
        recoloured: dict[str, list[Pictogram]] = {}
        for pictogram, rgba in zip(self.known, self.rgba, strict=True):
            thing = noun(pictogram.name)
            own.setdefault(thing, set()).add(colour_of(Image.fromarray(on(rgba, WHITE))))
            if with_hue(rgba, 0, pale=False) is not None:
                recoloured.setdefault(thing, []).append(pictogram)
        return self._some(
            [
                Prompt(
                    f"a {colour} {thing}, {self.random.choice(self.random.choice(of).style)}",
                    (thing,),
                    colour,
                )
                for thing, of in recoloured.items()
                for colour in HUES
                if held_out(thing, colour=colour) and colour not in own[thing]
            ]
        )

    def _some(self, prompts: list[Prompt]) -> list[Prompt]:
        return self.random.sample(prompts, min(len(prompts), self.settings.evaluated))

    def _draw(
        self,
        prompts: Sequence[Prompt],
        size: int = 128,
        own: Sequence[dict[str, Any]] | None = None,
        **inputs: Any,
    ) -> list[Image.Image]:
        """Draw a picture for each prompt, with `inputs` and, if given, its `own` inputs."""
        return self.artist.draw(
            [
                {**ASKED, "seed": seed, "prompt": prompt.text, "width": size, "height": size}
                | inputs
                | more
                for seed, (prompt, more) in enumerate(
                    zip(prompts, own or [{}] * len(prompts), strict=True)
                )
            ]
        )

    # Figures

    def _autoencoder(self) -> Iterator[str]:
        vae = AutoencoderKL.from_pretrained(self.folder / "vae", dtype=torch.float32)
        vae = vae.eval().to(self.device)
        yield "\n## Autoencoder\n"
        yield f"PSNR over {len(self.unseen)} pictures of a set that nothing was trained on:\n"
        yield "| size | mean | lowest |\n|---|---|---|"
        for size in sorted(self.settings.batch):
            ratios = autoencoder.psnr(vae, self._unseen(size))
            yield f"| {size} px | {ratios.mean():.1f} dB | {ratios.min():.1f} dB |"

    def _unseen(self, size: int) -> np.ndarray:
        """Return the pictures of the unseen set, on white: (pictures, size, size, 3) uint8."""
        return np.stack([resized(on(rgba, WHITE), size) for rgba in self.unseen_rgba])

    def _judge_itself(self) -> Iterator[str]:
        pictures = [Image.fromarray(rgb) for rgb in self._unseen(128)]
        shown = [Prompt("", (noun(each.name),)) for each in self.unseen]
        first, five = self._right(pictures, shown)
        grey, _ = self._right(pictures, shown, in_colour=False)
        yield "\n## The judge\n"
        yield (
            f"It knows {len(self.judge.nouns)} nouns from {len(self.known)} real pictures. Of the "
            f"unseen set's pictures it names {first:.0%} right ({five:.0%} among its first five), "
            f"without their colour {grey:.0%}: take the shares below with that grain of salt."
        )

    def _retrieval(self, size: int) -> Iterator[str]:
        yield f"\n## What is drawn at {size} px\n"
        yield "| prompts | number | noun first | among five | shuffled | colour | shuffled |"
        yield "|---|---|---|---|---|---|---|"
        for title, prompts in (
            ("everyday prompts", self.everyday),
            ("trained names", self.names),
            ("style never seen with the name", self.styles),
            ("colour never seen with the name", self.colours),
        ):
            if not prompts:
                continue
            pictures = self._draw(prompts, size)
            shuffled = prompts[1:] + prompts[:1]
            in_colour = prompts is not self.colours
            rankings = self.judge.ranking(pictures, in_colour)
            (first, five), (chance, _) = right(rankings, prompts), right(rankings, shuffled)
            cells = [title, str(len(prompts)), *(f"{x:.0%}" for x in (first, five, chance))]
            if in_colour:
                cells += ["", ""]
            else:
                colours = [colour_of(picture) for picture in pictures]
                cells += [f"{share_coloured(colours, p):.0%}" for p in (prompts, shuffled)]
            yield f"| {' | '.join(cells)} |"
            if prompts is self.names:
                drawn = np.stack([resized(np.asarray(picture), 32) for picture in pictures])
                self.right_at[size] = first
            sheet = grid(pictures, captions(prompts, rankings))
            sheet.save(self.folder / f"{title.split()[0]}-{size}.jpg", quality=85)
        known = np.stack([resized(on(rgba, WHITE), 32) for rgba in self.rgba])
        copied, usual = nearest(drawn, known), nearest(self._unseen(32), known)
        yield (
            f"\nNearest training picture (root of the mean squared difference at 32 px, of 255): "
            f"{np.median(copied):.0f} in the median for what is drawn, {copied.min():.0f} at the "
            f"least; {np.median(usual):.0f} and {usual.min():.0f} for the unseen set's pictures."
        )

    def _draw_to_look_at(self) -> None:
        """Draw a grid of prompts that nobody has a measure for."""
        prompts = [Prompt(text, ()) for text in EVERYDAY["looked_at"]]
        sheet = grid(self._draw(prompts), [prompt.text for prompt in prompts])
        sheet.save(self.folder / "more-128.jpg", quality=85)

    def _large(self) -> Iterator[str]:
        yield "\n## Larger than it was trained on\n"
        yield "| size | names | noun first | among five |\n|---|---|---|---|"
        for size, count in LARGE.items():
            prompts = self.names[:count]
            pictures = self._draw(prompts, size)
            first, five = self._right(pictures, prompts)
            self.right_at[size] = first
            yield f"| {size} px | {len(prompts)} | {first:.0%} | {five:.0%} |"
            sheet = grid(pictures, [prompt.text for prompt in prompts], 6)
            sheet.save(self.folder / f"trained-{size}.jpg", quality=80)

    def _right(
        self, pictures: Sequence[Image.Image], prompts: Sequence[Prompt], in_colour: bool = True
    ) -> tuple[float, float]:
        return right(self.judge.ranking(pictures, in_colour), prompts)

    def _strength(self) -> Iterator[str]:
        prompts = self.names[:EFFECTS]
        sketches = [
            Image.open(file).convert("RGB").resize((128, 128), Image.Resampling.LANCZOS)
            for file in sorted(EXAMPLES.glob("*.png"))
        ]
        images = [sketches[index % len(sketches)] for index in range(len(prompts))]
        yield "\n## What the inputs do, at 128 px\n"
        yield "From a sketch of another thing (`examples/`), by **strength**:\n"
        yield "| strength | mean distance to the sketch | the prompt's noun first |\n|---|---|---|"
        rows = [images]
        for strength in (0.2, 0.4, 0.6, 0.8, 1.0):
            own = [{"image": image} for image in images]
            pictures = self._draw(prompts, own=own, strength=strength)
            distance = np.mean(
                [
                    abs(np.asarray(picture).astype(float) - np.asarray(image)).mean()
                    for picture, image in zip(pictures, images, strict=True)
                ]
            )
            first, _ = self._right(pictures, prompts)
            yield f"| {strength} | {distance:.0f} of 255 | {first:.0%} |"
            rows.append(pictures)
        shown = min(10, len(prompts))
        titles = [prompt.text for prompt in prompts[:shown]] * len(rows)
        sheet = grid([picture for row in rows for picture in row[:shown]], titles, shown)
        sheet.save(self.folder / "strength-128.jpg", quality=88)

    def _guidance(self) -> Iterator[str]:
        prompts = self.names[:EFFECTS]
        yield "\nBy **guidance**, trained names:\n"
        yield "| guidance | noun first | among five |\n|---|---|---|"
        for scale in (1.0, 3.0, 5.0, 7.5, 12.0):
            first, five = self._right(self._draw(prompts, guidance_scale=scale), prompts)
            yield f"| {scale:g} | {first:.0%} | {five:.0%} |"

    def _negative(self) -> Iterator[str]:
        nouns = list(dict.fromkeys(prompt.noun for prompt in self.colours))[:EFFECTS]
        prompts = [Prompt(with_article(thing), (thing,)) for thing in nouns]
        before = self._draw(prompts)
        # A picture without any colour has none to take away: it counts as one in red, of no area.
        prompts = [
            replace(prompt, colour=colour_of(picture) or "red")
            for prompt, picture in zip(prompts, before, strict=True)
        ]
        area = area_of_all(before, prompts)
        left = []
        for turned in (0.0, 0.5):  # the colour itself, and for comparison the opposite one
            own = [{"negative_prompt": nearest_colour(HUES[p.colour] + turned)} for p in prompts]
            left.append(area_of_all(self._draw(prompts, own=own), prompts) / max(area, 1e-6))
        yield (
            f"\nA **negative prompt** that names the colour of what came without it leaves "
            f"{left[0]:.0%} of that colour's area; one that names the opposite colour "
            f"{left[1]:.0%} ({len(prompts)} things, same seeds)."
        )

    def _weights(self) -> Iterator[str]:
        prompts = self.colours[:EFFECTS]
        yield "\nArea in the asked colour, by the **weight** of its word (`use_compel`):\n"
        yield "| prompt | share of the area |\n|---|---|"
        for written in ("({})0.3", "{}", "{}++", "{}++++"):
            asked = [replace(p, text=f"a {written.format(p.colour)} {p.noun}") for p in prompts]
            area = area_of_all(self._draw(asked, use_compel=True), prompts)
            yield f"| `a {written.format('red')} …` | {area:.1%} |"


def right(rankings: Sequence[list[str]], prompts: Sequence[Prompt]) -> tuple[float, float]:
    """Return the shares of rankings with a noun of the prompt first, and among the first five."""
    ranks = np.array([min(map(r.index, p.nouns)) for r, p in zip(rankings, prompts, strict=True)])
    return float(np.mean(ranks == 0)), float(np.mean(ranks < 5))


def captions(prompts: Sequence[Prompt], rankings: Sequence[list[str]]) -> list[str]:
    """Return the prompts' texts, and with those that are not shown what the judge sees."""
    return [
        prompt.text if ranking[0] in prompt.nouns else f"{prompt.text} ({ranking[0]}?)"
        for prompt, ranking in zip(prompts, rankings, strict=True)
    ]


def share_coloured(colours: Sequence[str], prompts: Sequence[Prompt]) -> float:
    """Return the share of pictures whose colour, by `colour_of`, is the prompt's."""
    return float(np.mean([c == p.colour for c, p in zip(colours, prompts, strict=True)]))


def nearest(rgb: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the distance of each of `rgb` to the nearest of `known`, as the root mean square."""
    these, other = (x.reshape(len(x), -1).astype(np.float32) for x in (rgb, known))
    square = (these**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * these @ other.T
    distances: np.ndarray = np.sqrt(np.maximum(square.min(1), 0) / these.shape[1])
    return distances


def nearest_colour(hue: float) -> str:
    """Return the colour word nearest to a hue in turns."""
    return min(HUES, key=lambda colour: hue_distance(hue, colour))


def colour_of(picture: Image.Image) -> str:
    """Return the colour word nearest to the dominant hue; "" for a picture without colour."""
    rgb = np.asarray(picture).astype(np.float32) / 255
    hue, _, share = hue_of(rgb, np.ones(rgb.shape[:2], np.float32))
    return nearest_colour(hue) if share >= HUE_SHARE else ""


def area_of(picture: Image.Image, colour: str) -> float:
    """Return the share of the picture's pixels in the colour, weighted by how strong it is."""
    hue, saturation, value = to_hsv(np.asarray(picture).astype(np.float32) / 255)
    near = hue_distance(hue, colour) < 0.07
    return float((saturation * value * near * (saturation > 0.25)).mean())


def area_of_all(pictures: Sequence[Image.Image], prompts: Sequence[Prompt]) -> float:
    """Return the mean area in the colour of each picture's prompt; 0 for no pictures."""
    areas = [area_of(picture, p.colour) for picture, p in zip(pictures, prompts, strict=True)]
    return float(np.mean(areas)) if areas else 0.0


TITLE = """# Evaluation

Written by `scripts/train-demo --evaluate`, for a training on {names} names; drawn by a {device}.
Seeds are fixed: on the same machine the same weights give the same figures. One seed a prompt,
nothing picked; DPM-Solver++, 16 steps, guidance 5 unless said otherwise. The share of right answers
is by a small classifier that was trained on real pictures only (from the shape alone where a colour
was asked for), `judge.safetensors`; whether the style is right is not measured. "Shuffled" holds
the same pictures against each other's prompts: what chance gives. Everyday prompts, in
`train_demo/everyday.json`, are right by any of the names there; names were trained, the pairs below
them not. The grids say in brackets what the judge takes a picture for, where that is not asked for;
`more-128.jpg` has prompts that are only looked at."""
