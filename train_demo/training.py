"""The stages of a training, each kept when it is done: pictures, autoencoder, UNet, figures."""

import copy
import shutil
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionImg2ImgPipeline
from transformers import CLIPTokenizer

from train_demo import autoencoder, denoising, latents, pictograms, tokenizer, vocabulary
from train_demo.denoiser import Denoiser, noise_schedule
from train_demo.drawing import Artist, grid
from train_demo.evaluation import Evaluation
from train_demo.folder import alone_in, keep_apart
from train_demo.latents import Latents
from train_demo.progress import Log, write
from train_demo.settings import SHOWN, Settings
from train_demo.stopping import Stop

LASTING = (
    "names",
    "variants",
    "captions",
    "batch",
    "autoencoder_channels",
    "unet_channels",
    "text_width",
    "text_layers",
)
"""The settings that the files of a training depend on."""


class Training:
    """A training of the demo model.

    Args:
        settings: what to train and how long.
        folder: its working files; a training goes on from what is there.
        output: where the pipeline is written.
        start: the folder of a pipeline to train further, with its autoencoder and tokenizer;
            None begins with nothing.
        stop: may end it.
    """

    def __init__(
        self, settings: Settings, folder: Path, output: Path, start: Path | None, stop: Stop
    ) -> None:
        self.settings, self.folder, self.output = settings, folder, output
        self.start, self.stop = start, stop
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        folder.mkdir(parents=True, exist_ok=True)
        self.log = Log(folder / "log.txt")
        self.pictures = folder / "pictograms.zip"
        self.tokenizer = start / "tokenizer" if start else folder / "tokenizer"

    def run(self) -> None:
        """Run all stages that are not done yet, and evaluate the trained model.

        Raises:
            TrainingError: the folder holds another training or one that runs, the pictures can't
                be fetched, or too many steps were not finite.
            Stopped: a signal has come.
        """
        with alone_in(self.folder):
            self._prepare()
            self._train()
            self._evaluate()

    def prepare(self) -> None:
        """Prepare what needs the network: the pictures in one file, and the tokenizer."""
        with alone_in(self.folder):
            self._prepare()

    def evaluate(self) -> None:
        """Write figures and grids beside the pipeline at `output`."""
        with alone_in(self.folder):
            self._pack()
            self._evaluate()

    def _prepare(self) -> None:
        lasting = {name: getattr(self.settings, name) for name in LASTING}
        keep_apart(self.folder, lasting | {"start": str(self.start)})
        self._pack()
        if not self.tokenizer.exists():
            self.log("cuts the tokenizer")
            trained = tokenizer.make(self._packages() / "node_modules")
            write(self.tokenizer, trained.save_pretrained)

    def _train(self) -> None:
        vae = self._autoencoder()
        learned = self._latents(vae)
        model = Denoiser.of(self.start) if self.start else self._new_denoiser()
        self.log(f"trains on {len(learned.is_plain)} pictures, on {self.device.type}")

        def export(averaged: Denoiser) -> None:
            self._export(averaged, vae, self.folder / "latest")
            self.log(f"the model so far is in {self.folder / 'latest'}")

        averaged = denoising.train(
            model.to(self.device),
            learned,
            self.settings,
            self.folder / "denoiser.pt",
            self.log,
            self.stop,
            export,
            self._sample,
        )
        self._export(averaged, vae, self.output)
        self.log(f"the model is in {self.output}")

    def _evaluate(self) -> None:
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
            autoencoder.train(vae, self.pictures, self.settings, file, self.log, self.stop)
            write(folder, vae.save_pretrained)
        vae = AutoencoderKL.from_pretrained(folder, dtype=torch.float32).eval()
        return vae.to(self.device, memory_format=torch.channels_last)

    def _new_denoiser(self) -> Denoiser:
        return Denoiser.new(self.settings, CLIPTokenizer.from_pretrained(self.tokenizer))

    def _latents(self, vae: AutoencoderKL) -> Latents:
        file = self.folder / "latents.pt"
        if not file.exists():
            self.log("encodes the pictures and their variants")
            latents.encode(self.pictures, vae, self.tokenizer, self.settings).save(file)
        return Latents.load(file)

    def _export(self, averaged: Denoiser, vae: AutoencoderKL, folder: Path) -> None:
        """Write the pipeline in half precision; elsewhere first, as `folder` may be the start."""
        pipeline = StableDiffusionImg2ImgPipeline(
            vae=copy.deepcopy(vae),
            text_encoder=copy.deepcopy(averaged.text_encoder),
            tokenizer=averaged.tokenizer,
            unet=copy.deepcopy(averaged.unet),
            scheduler=noise_schedule(),
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
        # What it draws well, until the evaluation has measured it: the sizes that it learned.
        known = [each for each in pictograms.pictograms(self.pictures) if each.is_learned]
        vocabulary.write(folder, known, sorted(self.settings.batch))

    def _sample(self, minute: str) -> None:
        """Draw a grid with the model so far, at each size."""
        with closing(Artist(self.folder / "latest")) as artist:
            for size in self.settings.batch:
                of_size = {"width": size, "height": size, "seed": 1}
                pictures = artist.draw([{"prompt": text, **of_size} for text in SHOWN])
                grid(pictures, SHOWN, 5).save(self.folder / f"grid-{size}-{minute}.png")
