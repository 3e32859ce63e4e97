"""The stages of a training, each kept when it is done: pictures, autoencoder, UNet, figures."""

import copy
import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionImg2ImgPipeline
from transformers import CLIPTokenizer

from train_demo import autoencoder, denoiser, latents, pictograms, tokenizer
from train_demo.denoiser import Denoiser
from train_demo.drawing import Artist, grid
from train_demo.evaluation import Evaluation
from train_demo.latents import Latents
from train_demo.progress import Log, TrainingError, write
from train_demo.settings import SHOWN, Settings

LASTING = ("names", "variants", "batch", "autoencoder_channels", "unet_channels", "text_width")
"""The settings that the files of a training depend on."""


class Training:
    """A training of the demo model.

    Args:
        settings: what to train and how long.
        folder: its working files; a training goes on from what is there.
        output: where the pipeline is written.
        start: the folder of a pipeline to train further, with its autoencoder and tokenizer;
            None begins with nothing.
    """

    def __init__(self, settings: Settings, folder: Path, output: Path, start: Path | None) -> None:
        self.settings, self.folder, self.output, self.start = settings, folder, output, start
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        folder.mkdir(parents=True, exist_ok=True)
        self.log = Log(folder / "log.txt")
        self.pictures = folder / "pictograms.zip"

    def _keep_apart(self) -> None:
        """Refuse to go on in the folder of another training."""
        everything = dataclasses.asdict(self.settings)
        lasting = {name: everything[name] for name in LASTING}
        text = json.dumps(lasting | {"start": str(self.start)}, indent=1)
        file = self.folder / "settings.json"
        if file.exists() and file.read_text() != text:
            raise TrainingError(
                f"{self.folder} holds a training with other settings or from another start: "
                "give another --folder, or delete it"
            )
        file.write_text(text)

    def run(self) -> None:
        """Run all stages that are not done yet, and evaluate the trained model.

        Raises:
            TrainingError: the folder holds another training, or the pictures can't be fetched.
        """
        self.prepare()
        vae = self._autoencoder()
        model = Denoiser.of(self.start) if self.start else self._new_denoiser()
        learned = self._latents(vae)
        self.log(f"trains on {len(learned.subjects)} pictures, on {self.device.type}")

        def at_grid(averaged: Denoiser, minute: str) -> None:
            self._export(averaged, vae, self.folder / "latest")
            self._sample(minute)

        averaged = denoiser.train(
            model.to(self.device),
            learned,
            self.settings,
            self.folder / "denoiser.pt",
            self.log,
            at_grid,
        )
        self._export(averaged, vae, self.output)
        self.evaluate()

    def prepare(self) -> None:
        """Prepare what needs the network: the pictures in one file, and the tokenizer."""
        self._keep_apart()
        self._pack()
        if not self.start and not (self.folder / "tokenizer").exists():
            self.log("cuts the tokenizer")
            trained = tokenizer.make(self._packages() / "node_modules")
            write(self.folder / "tokenizer", trained.save_pretrained)

    def evaluate(self) -> None:
        """Write figures and grids beside the pipeline at `output`."""
        self._pack()
        Evaluation(self.output, self.pictures, self.settings).write(self.log)
        self.log(f"the figures are in {self.output / 'EVALUATION.md'}")

    def _packages(self) -> Path:
        folder = self.folder / "npm"
        if not folder.exists():
            self.log("fetches the pictures")
            write(folder, pictograms.fetch)
        return folder

    def _pack(self) -> None:
        if not self.pictures.exists():
            packages = self._packages()
            self.log("renders the pictures")
            write(self.pictures, lambda p: pictograms.pack(p, packages, self.settings.names))

    def _autoencoder(self) -> AutoencoderKL:
        folder = self.start / "vae" if self.start else self.folder / "vae"
        if not folder.exists():
            vae = autoencoder.new(self.settings.autoencoder_channels)
            vae.to(self.device, memory_format=torch.channels_last)
            file = self.folder / "autoencoder.pt"
            autoencoder.train(vae, self.pictures, self.settings, file, self.log)
            write(folder, vae.save_pretrained)
        vae = AutoencoderKL.from_pretrained(folder, dtype=torch.float32).eval()
        return vae.to(self.device, memory_format=torch.channels_last)

    def _new_denoiser(self) -> Denoiser:
        return Denoiser.new(self.settings, CLIPTokenizer.from_pretrained(self.folder / "tokenizer"))

    def _latents(self, vae: AutoencoderKL) -> Latents:
        file = self.folder / "latents.pickle"
        if not file.exists():
            self.log("encodes the pictures and their variants")
            sizes = list(self.settings.batch)
            encoded = latents.encode(self.pictures, vae, sizes, self.settings.variants)
            write(file, lambda path: latents.save(encoded, path))
        return latents.load(file)

    def _export(self, averaged: Denoiser, vae: AutoencoderKL, folder: Path) -> None:
        """Write the pipeline in half precision; elsewhere first, as `folder` may be the start."""
        pipeline = StableDiffusionImg2ImgPipeline(
            vae=copy.deepcopy(vae),
            text_encoder=copy.deepcopy(averaged.text_encoder),
            tokenizer=averaged.tokenizer,
            unet=copy.deepcopy(averaged.unet),
            scheduler=denoiser.noise_schedule(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        # Where the start lay is nobody's business.
        pipeline.unet.register_to_config(
            sample_size=self.settings.native_size // 8, _name_or_path=""
        )
        pipeline.vae.register_to_config(_name_or_path="")
        export = self.folder / "export"
        pipeline.to(torch.float16).save_pretrained(export)
        for file in [path for path in export.rglob("*") if path.is_file()]:
            target = folder / file.relative_to(export)
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target, partial(shutil.move, file))

    def _sample(self, minute: str) -> None:
        """Draw a grid with the model so far, at each size."""
        artist = Artist(self.folder / "latest")
        for size in self.settings.batch:
            asked = [{"prompt": text, "width": size, "height": size, "seed": 1} for text in SHOWN]
            pictures = artist.draw(asked)
            grid(pictures, SHOWN, 5).save(self.folder / f"grid-{size}-{minute}.png")
        artist.close()
