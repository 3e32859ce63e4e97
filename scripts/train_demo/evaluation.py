"""How well a trained model draws what it is told: figures in EVALUATION.md, grids to look at."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from scripts.train_demo import autoencoder
from scripts.train_demo.captions import held_out, noun, plain, with_article
from scripts.train_demo.drawing import Artist, grid
from scripts.train_demo.judge import Judge
from scripts.train_demo.latents import resized
from scripts.train_demo.pictograms import Pictogram, pictograms
from scripts.train_demo.settings import Settings
from scripts.train_demo.variants import HUES, WHITE, hue_of, on, to_hsv, with_hue

ASKED = {"num_inference_steps": 16, "guidance_scale": 5.0, "scheduler": "DPMSolverMultistep"}
EFFECTS = 32  # prompts for each figure on the effect of an input
HUE_SHARE = 0.02  # of the area must be coloured for a picture to have a colour


@dataclass(frozen=True)
class Prompt:
    """What is asked for, and what must come of it."""

    text: str
    noun: str
    colour: str = ""


class Evaluation:
    """Figures of the pipeline in `folder`, which was trained on the packed file `pictures`."""

    def __init__(self, folder: Path, pictures: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.packed = pictures
        self.index = pictograms(pictures)
        self.learned = [each for each in self.index if each.is_learned]
        self.unseen = [each for each in self.index if not each.is_learned]
        self.rgba = autoencoder.read(self.learned, pictures)
        self.random = random.Random(0)

    def write(self, log: Callable[[str], None]) -> None:
        """Measures everything, and writes EVALUATION.md and the grids into the folder."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        lines = [TITLE]
        log("evaluates the autoencoder")
        lines += self._autoencoder(device)
        log("trains the judge")
        settings = self.settings
        self.judge = Judge(
            self.rgba, self.learned, settings.judge_width, settings.judge_steps, device
        )
        lines += self._judge_itself()
        self.artist = Artist(self.folder)
        try:
            for size in settings.batch:
                log(f"draws at {size} px")
                lines += self._retrieval(size)
            log("tries strength, guidance, negative prompts and weights")
            lines += [*self._strength(), *self._guidance(), *self._negative(), *self._weights()]
        finally:
            self.artist.close()
        (self.folder / "EVALUATION.md").write_text("\n".join(lines) + "\n")

    # Prompts

    def names(self) -> list[Prompt]:
        """The trained names, as they are."""
        names = sorted({each.name for each in self.learned})
        return self._some([Prompt(with_article(plain(name)), noun(name)) for name in names])

    def styles(self) -> list[Prompt]:
        """Names in a style that this name was never seen in."""
        pairs = [each for each in self.learned if held_out(each.name, style=each.package)]
        return self._some(
            [Prompt(f"{plain(each.name)}, {each.style[-1]}", noun(each.name)) for each in pairs]
        )

    def colours(self) -> list[Prompt]:
        """Names in a colour that they were never seen in, each in some style."""
        nouns: dict[str, Pictogram] = {}
        for each, rgba in zip(self.learned, self.rgba, strict=True):
            if with_hue(rgba, 0, pale=False) is not None:
                nouns.setdefault(noun(each.name), each)
        natural = {tuple(plain(each.name).split(" ", 1)) for each in self.learned}
        return self._some(
            [
                Prompt(f"a {colour} {thing}, {self.random.choice(each.style)}", thing, colour)
                for thing, each in nouns.items()
                for colour in HUES
                if held_out(thing, colour=colour) and (colour, thing) not in natural
            ]
        )

    def _some(self, prompts: list[Prompt]) -> list[Prompt]:
        return self.random.sample(prompts, min(len(prompts), self.settings.evaluated))

    def _draw(self, prompts: Sequence[Prompt], **inputs: Any) -> list[Image.Image]:
        return self.artist.draw(
            [
                {**ASKED, "seed": seed, "prompt": prompt.text, "width": 128, "height": 128} | inputs
                for seed, prompt in enumerate(prompts)
            ]
        )

    # Figures

    def _autoencoder(self, device: torch.device) -> Iterator[str]:
        vae = AutoencoderKL.from_pretrained(self.folder / "vae", dtype=torch.float32)
        vae = vae.eval().to(device)
        yield "\n## Autoencoder\n"
        yield f"PSNR over {len(self.unseen)} pictures of a set that nothing was trained on:\n"
        yield "| size | mean | lowest |\n|---|---|---|"
        for size in sorted(self.settings.batch):
            ratios = autoencoder.psnr(vae, autoencoder.unseen(self.packed, size))
            yield f"| {size} px | {ratios.mean():.1f} dB | {ratios.min():.1f} dB |"

    def _judge_itself(self) -> Iterator[str]:
        pictures = [
            Image.fromarray(on(rgba, WHITE)) for rgba in autoencoder.read(self.unseen, self.packed)
        ]
        right = self._right(pictures, [Prompt("", noun(each.name)) for each in self.unseen])
        yield "\n## The judge\n"
        yield (
            f"It knows {len(self.judge.nouns)} nouns from {len(self.learned)} real pictures, and "
            f"names {right[0]:.0%} of the unseen set's pictures right "
            f"({right[1]:.0%} among its first five): no figure below can be taken for exact."
        )

    def _retrieval(self, size: int) -> Iterator[str]:
        yield f"\n## What is drawn at {size} px\n"
        yield "| prompts | number | noun first | among five | shuffled | colour | shuffled |"
        yield "|---|---|---|---|---|---|---|"
        for title, prompts in (
            ("trained names", self.names()),
            ("style never seen with the name", self.styles()),
            ("colour never seen with the name, in a style", self.colours()),
        ):
            pictures = self._draw(prompts, width=size, height=size)
            shuffled = prompts[1:] + prompts[:1]
            first, five = self._right(pictures, prompts)
            chance, _ = self._right(pictures, shuffled)
            cells = [title, str(len(prompts)), *(f"{x:.0%}" for x in (first, five, chance))]
            if prompts[0].colour:
                cells += [f"{self._coloured(pictures, p):.0%}" for p in (prompts, shuffled)]
            else:
                cells += ["", ""]
            yield f"| {' | '.join(cells)} |"
            if title == "trained names":
                near = self._nearest(pictures)
            file = f"{title.split()[0]}-{size}.jpg"
            sheet = grid(pictures[:60], [prompt.text for prompt in prompts[:60]])
            sheet.save(self.folder / file, quality=88)
        copied, usual = near
        yield (
            f"\nNearest training picture (root of the mean squared difference at 32 px, of 255): "
            f"{np.median(copied):.0f} in the median for what is drawn, {copied.min():.0f} at the "
            f"least; {np.median(usual):.0f} and {usual.min():.0f} for the unseen set's pictures."
        )

    def _right(
        self, pictures: Sequence[Image.Image], prompts: Sequence[Prompt]
    ) -> tuple[float, float]:
        """The share of pictures with the asked noun first, and among the first five."""
        rankings = self.judge.ranking(pictures, in_colour=not prompts[0].colour)
        ranks = [
            ranking.index(prompt.noun) for ranking, prompt in zip(rankings, prompts, strict=True)
        ]
        return float(np.mean(np.array(ranks) == 0)), float(np.mean(np.array(ranks) < 5))

    def _coloured(self, pictures: Sequence[Image.Image], prompts: Sequence[Prompt]) -> float:
        """The share of pictures whose dominant hue is nearest to the asked colour's."""
        colours = [colour_of(picture) for picture in pictures]
        return float(np.mean([c == p.colour for c, p in zip(colours, prompts, strict=True)]))

    def _nearest(self, pictures: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        """The distance from drawn, and from unseen real pictures, to the nearest learned one."""
        known = np.stack([resized(on(rgba, WHITE), 32) for rgba in self.rgba])

        def distances(rgb: np.ndarray) -> np.ndarray:
            return np.array(
                [np.sqrt(((known - each.astype(float)) ** 2).mean((1, 2, 3))).min() for each in rgb]
            )

        drawn = np.stack([resized(np.asarray(picture), 32) for picture in pictures])
        return distances(drawn), distances(autoencoder.unseen(self.packed, 32))

    def _strength(self) -> Iterator[str]:
        prompts = self.names()[:EFFECTS]
        others = [self._other(prompt) for prompt in prompts]
        yield "\n## What the inputs do, at 128 px\n"
        yield "From the picture of another thing, by **strength**:\n"
        yield "| strength | mean distance to the picture | the prompt's noun first |\n|---|---|---|"
        rows = [[Image.fromarray(rgb) for rgb in others]]
        for strength in (0.2, 0.4, 0.6, 0.8, 1.0):
            asked = [
                {**ASKED, "seed": seed, "prompt": prompt.text, "strength": strength, "image": image}
                for seed, (prompt, image) in enumerate(zip(prompts, rows[0], strict=True))
            ]
            pictures = self.artist.draw(asked)
            distance = np.mean(
                [
                    abs(np.asarray(p).astype(float) - o).mean()
                    for p, o in zip(pictures, others, strict=True)
                ]
            )
            first, _ = self._right(pictures, prompts)
            yield f"| {strength} | {distance:.0f} of 255 | {first:.0%} |"
            rows.append(pictures)
        titles = [prompt.text for prompt in prompts]
        sheet = [picture for row in rows for picture in row[:10]]
        grid(sheet, titles[:10] * len(rows), min(10, len(prompts))).save(
            self.folder / "strength-128.jpg", quality=88
        )

    def _other(self, prompt: Prompt) -> np.ndarray:
        others = [i for i, each in enumerate(self.learned) if noun(each.name) != prompt.noun]
        return resized(on(self.rgba[self.random.choice(others)], WHITE), 128)

    def _guidance(self) -> Iterator[str]:
        prompts = self.names()[:EFFECTS]
        yield "\nBy **guidance**, trained names:\n"
        yield "| guidance | noun first | among five |\n|---|---|---|"
        for scale in (1.0, 3.0, 5.0, 7.5, 12.0):
            first, five = self._right(self._draw(prompts, guidance_scale=scale), prompts)
            yield f"| {scale:g} | {first:.0%} | {five:.0%} |"

    def _negative(self) -> Iterator[str]:
        nouns = list(dict.fromkeys(prompt.noun for prompt in self.colours()))[:EFFECTS]
        prompts = [Prompt(with_article(thing), thing) for thing in nouns]
        before = self._draw(prompts)
        prompts = [replace(p, colour=colour_of(b)) for p, b in zip(prompts, before, strict=True)]
        after = self.artist.draw(
            [
                {**ASKED, "seed": seed, "prompt": p.text, "negative_prompt": p.colour}
                | {"width": 128, "height": 128}
                for seed, p in enumerate(prompts)
            ]
        )
        kept = self._presence(after, prompts) / max(self._presence(before, prompts), 1e-6)
        yield (
            f"\nA **negative prompt** that names the colour of what came without it leaves "
            f"{kept:.0%} of that colour's area ({len(prompts)} things, same seeds)."
        )

    def _weights(self) -> Iterator[str]:
        prompts = self.colours()[:EFFECTS]
        yield "\nArea in the asked colour, by the **weight** of its word (`use_compel`):\n"
        yield "| prompt | share of the area |\n|---|---|"
        for written in ("({})0.3", "{}", "{}++", "{}++++"):
            asked = [replace(p, text=f"a {written.format(p.colour)} {p.noun}") for p in prompts]
            pictures = self._draw(asked, use_compel=True)
            shown = written.format("red")
            yield f"| `a {shown} …` | {self._presence(pictures, prompts):.1%} |"

    def _presence(self, pictures: Sequence[Image.Image], prompts: Sequence[Prompt]) -> float:
        shares = [
            area_of(picture, prompt.colour)
            for picture, prompt in zip(pictures, prompts, strict=True)
            if prompt.colour
        ]
        return float(np.mean(shares)) if shares else 0.0


def colour_of(picture: Image.Image) -> str:
    """The colour word nearest to the dominant hue; "" for a picture without colour."""
    rgb = np.asarray(picture).astype(np.float32) / 255
    hue, _, share = hue_of(rgb, np.ones(rgb.shape[:2], np.float32))
    if share < HUE_SHARE:
        return ""
    return min(HUES, key=lambda colour: abs((hue - HUES[colour] + 0.5) % 1 - 0.5))


def area_of(picture: Image.Image, colour: str) -> float:
    """The share of the picture's pixels that have the colour, weighted by how strongly."""
    rgb = np.asarray(picture).astype(np.float32) / 255
    hue, saturation, value = to_hsv(rgb)
    near = abs((hue - HUES[colour] + 0.5) % 1 - 0.5) < 0.07
    return float((saturation * value * near * (saturation > 0.25)).mean())


TITLE = """# Evaluation

Written by `scripts/train-demo --evaluate`. Seeds are fixed: the same weights give the same figures.
One seed a prompt, nothing picked; DPM-Solver++, 16 steps, guidance 5 unless said otherwise. The
share of right answers is by a small classifier that was trained on real pictures only (from the
shape alone where a colour was asked for). "Shuffled" holds the same pictures against each other's
prompts: what chance gives. Names were trained; the pairs below them were kept from the training."""
