"""The Cog predictors: documented inputs in, files out.

Cog makes the API's schema from this file's text: what `Input(...)` holds must be literal.
"""

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, AsyncGenerator, AsyncIterator, Optional

import cog
from cog import BasePredictor, Input, Path

from stable_diffusion import (
    __version__,
    catalogue,
    content_credentials,
    images,
    models,
    prompts,
)
from stable_diffusion.model_folder import ModelFolder
from stable_diffusion.request import InputError, InstalledLora, Request

if TYPE_CHECKING:
    from stable_diffusion.content_credentials import Signer
    from stable_diffusion.engine import Engine
    from stable_diffusion.engines import Served
    from stable_diffusion.events import Event
    from stable_diffusion.installed import Installed

SIZES = [64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024]
LOG_SECONDS = 0.2
"""Seconds that Cog gets to read what was printed: what comes to it after the setup is lost."""
FILTERS = ["lanczos", "nearest"]
SCHEDULERS = [
    "DDIM",
    "DPMSolverMultistep",
    "K_EULER",
    "K_EULER_ANCESTRAL",
    "KLMS",
    "PNDM",
    "K_HEUN",
    "K_DPM_2",
    "K_DPM_2_ANCESTRAL",
    "DPMSolverMultistepSDE",
    "DPMSolverSinglestepSDE",
    "UniPCMultistep",
    "DEISMultistep",
    "SASolver",
    "LCM",
    "TCD",
]


class Inputs:
    prompt = Input(description="text prompt")
    negative_prompt = Input(description="negative text prompt", default="")
    image = Input(description="starting image to use", accept="image/*", default=None)
    num_images = Input(description="number of images to generate", ge=1, le=4, default=1)
    num_inference_steps = Input(description="number of denoising steps", ge=1, le=512, default=25)
    guidance_scale = Input(
        description="classifier-free guidance, higher means follow prompt more closely",
        ge=1,
        le=20,
        default=7.5,
    )
    strength = Input(
        description="how much to follow the input image. 1 means ignore the image, 0 means follow the image exactly",
        ge=0,
        le=1,
        default=0.8,
    )
    width = Input(description="image width in px", choices=SIZES, default=None)
    height = Input(description="image height in px", choices=SIZES, default=None)
    seed = Input(
        description="random seed, empty means random", ge=0, le=9007199254740991, default=None
    )
    use_compel = Input(description="use compel library for weighted prompts", default=False)
    mask = Input(
        description="what to repaint of the image: white is repainted, black is preserved",
        accept="image/*",
        default=None,
    )
    scheduler = Input(
        description="which sampler removes the noise",
        choices=SCHEDULERS,
        default="DPMSolverMultistep",
    )
    output_format = Input(
        description="format of the image files", choices=["png", "webp", "jpg"], default="png"
    )
    output_quality = Input(description="quality of webp and jpg files", ge=1, le=100, default=90)
    mask_source = Input(
        description="what of the mask says where to repaint: brightness repaints white, alpha what is transparent, opacity what is opaque",
        choices=["brightness", "alpha", "opacity"],
        default="brightness",
    )
    invert_mask = Input(
        description="repaint what the mask would preserve; not for mask_source alpha",
        default=False,
    )
    mask_blur = Input(
        description="radius of the blur that is laid on the mask, in px of the mask",
        ge=0,
        le=64,
        default=0,
    )
    result_size = Input(
        description="size that the drawn image is scaled and cropped to, such as 520x776; 8 to 1536 px a side, to 4096 at strength 0",
        default=None,
    )
    resample = Input(
        description="filter of the scaling to the result's size, where that is not the drawn one",
        choices=FILTERS,
        default="lanczos",
    )
    mask_grow = Input(
        description="px of the mask by which the part to repaint grows on all sides, less than 0 shrinks it",
        ge=-256,
        le=256,
        default=0,
    )
    only_masked = Input(
        description="draw the part around the mask alone, at width and height, and put it back into the image, which keeps its size",
        default=False,
    )
    only_masked_padding = Input(
        description="px of the image around the mask that are drawn too, by only_masked",
        ge=0,
        le=256,
        default=32,
    )
    extend_left = Input(
        description="px to draw beyond the image's left edge, a multiple of 8",
        ge=0,
        le=1472,
        default=0,
    )
    extend_top = Input(
        description="px to draw beyond the image's top edge, a multiple of 8",
        ge=0,
        le=1472,
        default=0,
    )
    extend_right = Input(
        description="px to draw beyond the image's right edge, a multiple of 8",
        ge=0,
        le=1472,
        default=0,
    )
    extend_bottom = Input(
        description="px to draw beyond the image's bottom edge, a multiple of 8",
        ge=0,
        le=1472,
        default=0,
    )
    keep_size = Input(
        description="give the result the size of the image, up to 1536 px a side",
        default=False,
    )
    resize_mode = Input(
        description="how an image of another shape is fitted: crop cuts it, pad repeats its edges around it, stretch distorts it",
        choices=["crop", "pad", "stretch"],
        default="crop",
    )
    crop = Input(
        description="part of the image to use, as x,y,width,height in px from its upper left corner, such as 0,40,512,512",
        default=None,
    )
    tiling = Input(
        description="make a texture: the picture's edges continue at the opposite ones",
        default=False,
    )
    refine_scale = Input(
        description="how many times as large what is drawn is made, to be refined by a second pass; 1 is off",
        ge=1,
        le=4,
        default=1.0,
    )
    refine_strength = Input(
        description="how much the second pass changes: 1 ignores what was drawn, 0 only enlarges it",
        ge=0,
        le=1,
        default=0.4,
    )
    refine_steps = Input(
        description="number of denoising steps of the second pass, empty means as many as the first",
        ge=1,
        le=512,
        default=None,
    )
    upscaler = Input(
        description="name of an installed network (weights/upscalers) by which what was drawn is made larger before the second pass; empty means Lanczos",
        default=None,
    )
    spacing = Input(
        description="how the steps are spaced: evenly (default, sgm_uniform), or denser where there is little noise (karras, exponential); not for DDIM, K_EULER_ANCESTRAL, PNDM, LCM and TCD",
        choices=["default", "karras", "exponential", "sgm_uniform"],
        default="default",
    )
    eta = Input(
        description="share of new noise in each step of the scheduler DDIM", ge=0, le=1, default=0.0
    )
    clip_skip = Input(
        description="how many of the text encoder's last layers are left out",
        ge=0,
        le=11,
        default=0,
    )

    model = Input(
        description="name of the model to draw with, of those that are served here; empty means the usual one",
        default=None,
    )
    loras = Input(
        description="LoRAs of the folder weights/loras, each as its name or name:weight, from -2 to 2; without a weight it counts 1",
        default=[],
    )

    # What the other predictors have instead, or more.
    required_image = Input(description="starting image to use", accept="image/*")
    required_mask = Input(
        description="White pixels are inpainted and black pixels are preserved", accept="image/*"
    )
    full_strength = Input(
        description="how much to follow the input image. 1 means ignore the image, 0 means follow the image exactly",
        ge=0,
        le=1,
        default=1.0,
    )
    noise_level = Input(
        description="how much noise to lay on the image before it is upscaled: more leaves more to the prompt",
        ge=0,
        le=350,
        default=20,
    )


class Predictor(BasePredictor):
    """Image to image, text to image, and with a mask the repainting of a part.

    Its siblings differ in what they serve (`task`), in the files that they need (`required`), in
    the width and height that an image may have (`largest_side`), and in their inputs.
    """

    task = "img2img"
    required: tuple[str, ...] = ()
    largest_side: int | None = None
    signer: "Signer | None" = None

    def setup(self) -> None:
        from stable_diffusion.decoder_processes import DecoderProcesses

        self.decoders = DecoderProcesses(most=8)
        self.load(with_previews=True)
        usual = self.engines.usual
        adapters = self.adapters(usual.loras.files(), usual.embeddings.files())
        models = {"models": self.known_models()} if self.engines.may_be_several else {}
        print("model", json.dumps(self.description() | adapters | models), flush=True)
        time.sleep(LOG_SECONDS)

    def load(self, with_previews: bool = False) -> None:
        """Load the models that the environment names.

        Args:
            with_previews: whether predictions may have them, where the environment allows it.
        """
        names, rows = catalogue.names(os.environ.get("MODEL")), os.environ.get("ROWS")
        if rows and not (rows.isdecimal() and int(rows) > 1):
            raise catalogue.SetupError(
                f"ROWS is {rows!r}; give a whole number of at least 2, or leave it empty"
            )
        given = [catalogue.find(name, self.task) for name in names or (None,)]
        if not names and given[0].name == catalogue.DEMO:
            preferred = catalogue.TASKS[self.task].preferred
            print(
                f"The weights of {preferred} are not downloaded, so the small demo model is used; "
                f"scripts/download-weights {preferred} downloads them.",
                file=sys.stderr,
            )
        self.signer = content_credentials.signer_of(os.environ)
        path, dtype = catalogue.folder_of(catalogue.MODELS), os.environ.get("DTYPE") or None
        folder = ModelFolder(path, self.task) if path.is_dir() else None
        usual = models.load(given[0], dtype)

        from stable_diffusion.engines import Engines
        from stable_diffusion.startup import Startup

        start = Startup(
            usual,
            dtype,
            rows=int(rows) if rows else None,
            executor=os.environ.get("EXECUTOR") or None,
            is_shared=len(given) > 1 or folder is not None,
            with_previews=with_previews,
        )
        self.engines = Engines(given, folder, start)

    @property
    def engine(self) -> "Engine":
        """The usual model's engine."""
        return self.engines.usual.engine

    def description(self) -> dict[str, Any]:
        """Return what the usual model is, for whoever serves it (docs/api.md)."""
        engine = self.engine
        return {
            "model": engine.model.weights.name,
            "task": engine.model.weights.task,
            "checker": engine.has_checker,
            "samplers": SCHEDULERS,
            "upscalers": list(engine.upscalers),
            "versions": {
                "stable-diffusion": __version__,
                "diffusers": version("diffusers"),
                "torch": version("torch"),
            },
            **self.of_model(engine),
        }

    @staticmethod
    def of_model(engine: "Engine") -> dict[str, Any]:
        """Return that of the description in which models differ."""
        tokenizer, vocabulary = engine.tokenizer_file(), engine.model.vocabulary
        return {
            "native_size": engine.model.weights.native_size,
            "token_limit": engine.token_limit,
            "tokenizer": tokenizer and str(tokenizer),
            "vocabulary": vocabulary
            and {
                "words": vocabulary.words,
                "colours": vocabulary.colours,
                "backgrounds": vocabulary.backgrounds,
                "styles": vocabulary.styles,
                "sizes": vocabulary.sizes,
            },
        }

    def known_models(self) -> list[dict[str, Any]]:
        """Return the models that there are now, the usual one first; with what others differ in."""
        usual, *others = self.engines.names()
        started = {served.name: served for served in self.engines.started}
        known = [
            {"name": name, **(self.differing(started[name]) if name in started else {})}
            for name in others
        ]
        return [{"name": usual}, *known]

    def differing(self, served: "Served") -> dict[str, Any]:
        """Return that of a model in which it may differ from the usual one.

        Of LoRAs and embeddings it has the reasons why they can't be used with it, by their names.
        """
        folders = {"loras": served.loras, "embeddings": served.embeddings}
        unusable = {
            kind: {one.name: one.reason for one in folder.files().values() if one.reason}
            for kind, folder in folders.items()
        }
        return {**self.of_model(served.engine), "unusable": unusable}

    @staticmethod
    def adapters(
        loras: Mapping[str, "Installed"], embeddings: Mapping[str, "Installed"]
    ) -> dict[str, list[dict[str, Any]]]:
        """Return which LoRAs and embeddings are installed, as the description has them."""
        return {
            "loras": [
                {"name": one.name, "hash": one.hash, "trigger": one.trigger, "reason": one.reason}
                for one in loras.values()
            ],
            "embeddings": [
                {
                    "name": one.name,
                    "hash": one.hash,
                    "tokens": list(one.tokens),
                    "reason": one.reason,
                }
                for one in embeddings.values()
            ],
        }

    @cog.streaming
    @cog.concurrent(max=8)
    async def predict(
        self,
        prompt: str = Inputs.prompt,
        negative_prompt: str = Inputs.negative_prompt,
        image: Optional[Path] = Inputs.image,
        num_images: int = Inputs.num_images,
        num_inference_steps: int = Inputs.num_inference_steps,
        guidance_scale: float = Inputs.guidance_scale,
        strength: float = Inputs.strength,
        width: Optional[int] = Inputs.width,
        height: Optional[int] = Inputs.height,
        seed: Optional[int] = Inputs.seed,
        use_compel: bool = Inputs.use_compel,
        mask: Optional[Path] = Inputs.mask,
        scheduler: str = Inputs.scheduler,
        output_format: str = Inputs.output_format,
        output_quality: int = Inputs.output_quality,
        mask_source: str = Inputs.mask_source,
        invert_mask: bool = Inputs.invert_mask,
        mask_blur: int = Inputs.mask_blur,
        result_size: Optional[str] = Inputs.result_size,
        resample: str = Inputs.resample,
        mask_grow: int = Inputs.mask_grow,
        only_masked: bool = Inputs.only_masked,
        only_masked_padding: int = Inputs.only_masked_padding,
        extend_left: int = Inputs.extend_left,
        extend_top: int = Inputs.extend_top,
        extend_right: int = Inputs.extend_right,
        extend_bottom: int = Inputs.extend_bottom,
        keep_size: bool = Inputs.keep_size,
        resize_mode: str = Inputs.resize_mode,
        crop: Optional[str] = Inputs.crop,
        tiling: bool = Inputs.tiling,
        refine_scale: float = Inputs.refine_scale,
        refine_strength: float = Inputs.refine_strength,
        refine_steps: Optional[int] = Inputs.refine_steps,
        upscaler: Optional[str] = Inputs.upscaler,
        spacing: str = Inputs.spacing,
        eta: float = Inputs.eta,
        clip_skip: int = Inputs.clip_skip,
        loras: list[str] = Inputs.loras,
        model: Optional[str] = Inputs.model,
    ) -> AsyncIterator[Path]:
        inputs = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "image": image,
            "num_images": num_images,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "strength": strength,
            "width": width,
            "height": height,
            "seed": seed,
            "use_compel": use_compel,
            "mask": mask,
            "scheduler": scheduler,
            "output_format": output_format,
            "output_quality": output_quality,
            "mask_source": mask_source,
            "invert_mask": invert_mask,
            "mask_blur": mask_blur,
            "result_size": result_size,
            "resample": resample,
            "mask_grow": mask_grow,
            "only_masked": only_masked,
            "only_masked_padding": only_masked_padding,
            "extend_left": extend_left,
            "extend_top": extend_top,
            "extend_right": extend_right,
            "extend_bottom": extend_bottom,
            "keep_size": keep_size,
            "resize_mode": resize_mode,
            "crop": crop,
            "tiling": tiling,
            "refine_scale": refine_scale,
            "refine_strength": refine_strength,
            "refine_steps": refine_steps,
            "upscaler": upscaler,
            "spacing": spacing,
            "eta": eta,
            "clip_skip": clip_skip,
            "loras": loras,
            "model": model,
        }
        async with aclosing(self.answer(inputs)) as paths:
            async for path in paths:
                yield path

    async def answer(self, inputs: Mapping[str, Any]) -> AsyncGenerator[Path, None]:
        """Yield the output files of a prediction, and show the client its progress.

        The metric `failure` says whose fault it is that it failed: the client's (`inputs`, `nsfw`)
        or the machine's (`memory`).

        Args:
            inputs: by their names, as Cog hands them on.
        """
        from stable_diffusion.safety import NsfwError

        try:
            async with aclosing(self.draw(inputs)) as paths:
                async for path in paths:
                    yield path
        except InputError:
            self.record_metric("failure", "inputs")
            raise
        except NsfwError:
            self.record_metric("failure", "nsfw")
            raise
        except MemoryError:
            self.record_metric("failure", "memory")
            raise

    async def look(self) -> None:
        """Look what is installed now, and which models there are; record it for whoever serves it."""
        usual = self.engines.usual
        loras = await asyncio.to_thread(usual.loras.files)
        embeddings = await asyncio.to_thread(usual.embeddings.files)
        self.record_metric("adapters", self.adapters(loras, embeddings))
        if self.engines.may_be_several:
            self.record_metric("models", await asyncio.to_thread(self.known_models))

    async def draw(self, inputs: Mapping[str, Any]) -> AsyncGenerator[Path, None]:
        """Yield the output files, and show the client the progress."""
        began = time.monotonic()
        name = inputs.get("model") or None
        await self.look()
        await asyncio.to_thread(self.engines.prepare, name)
        with self.engines.using(name) as served:
            async with aclosing(self.draw_with(served, inputs, began)) as paths:
                async for path in paths:
                    yield path

    async def draw_with(
        self, served: "Served", inputs: Mapping[str, Any], began: float
    ) -> AsyncGenerator[Path, None]:
        """Yield the output files of a model, and show the client the progress."""
        engine = served.engine
        loras = await asyncio.to_thread(served.loras.files)
        read = partial(self.read, inputs, upscalers=engine.upscalers, loras=loras)
        request = await self.decoders.run(read)
        print(f"seed {request.seed}")
        self.record_metric("warming", engine.is_warming)

        from stable_diffusion.events import Flagged, Measured, Notice, Preview, Progress
        from stable_diffusion.memory import memory_used
        from stable_diffusion.results import generate_files

        records: list[dict[str, Any]] = []
        notes: list[str] = []

        def note(sentence: str) -> None:
            print(sentence)
            notes.append(sentence)
            self.record_metric("notes", notes)

        def record(index: int, seed: int, nsfw: bool | None, file: str | None) -> None:
            records.append({"index": index, "seed": seed, "nsfw": nsfw, "file": file})
            self.record_metric("images", records)

        def tell(event: "Event") -> None:
            if isinstance(event, Flagged):
                print(event.warning)
                record(event.index, event.seed, True, None)
            elif isinstance(event, Notice):
                note(event.warning)
            elif isinstance(event, Progress):
                print(f"step {event.step} of {event.steps}, {event.seconds_left:.0f} s left")
                progress = {
                    "step": event.step,
                    "steps": event.steps,
                    "seconds_left": round(event.seconds_left, 1),
                }
                self.record_metric("progress", progress)
            elif isinstance(event, Preview):
                url = f"data:image/webp;base64,{base64.b64encode(event.file).decode()}"
                self.record_metric("preview", {"index": event.index, "url": url})
            elif isinstance(event, Measured):
                document = event.measurement.document(began)
                self.record_metric("engine", {**document, "totals": engine.totals()})

        for sentence in request.notes:
            note(sentence)
        with_previews = cog.current_scope().context.get("previews") == "on"
        drawn = generate_files(engine, request, tell, with_previews, self.signer)
        async with aclosing(drawn) as pictures:
            async for picture, path in pictures:
                record(picture.index, picture.seed, picture.nsfw, path.name)
                self.record_metric("device_memory", memory_used(engine.model))
                yield Path(path)

    @classmethod
    def read(
        cls,
        inputs: Mapping[str, Any],
        known: Sequence[str] = (),
        read_picture: Callable[..., tuple[Any, list[str]]] = images.read_picture,
        upscalers: Collection[str] = (),
        loras: Mapping[str, InstalledLora] = MappingProxyType({}),
    ) -> Request:
        """Make a `Request` from the inputs as Cog, or the command line, hands them on.

        Args:
            known: what was already found wrong with them.
            read_picture: reads a picture as `images.read_picture` does.
            upscalers: the names of those that are installed.
            loras: those that are installed, by their names.

        Raises:
            InputError: naming everything that is wrong with them.
        """
        values, faults, notes = dict(inputs), list(known), list[str]()
        values.pop("model", None)  # whoever reads has chosen it

        def attempt(reader: Callable[..., Any], *arguments: object) -> Any:
            try:
                return reader(*arguments)
            except InputError as error:
                faults.extend(error.faults)

        def missing(name: str) -> bool:
            return inputs.get(name) is None and not any(f.startswith(f"{name}: ") for f in faults)

        mask_source = values.get("mask_source", "brightness")
        for name in ("image", "mask"):
            if values.get(name) is not None:
                read = attempt(read_picture, name, values[name], cls.largest_side, mask_source)
                values[name], found = read or (None, [])
                notes += found
            elif name in cls.required and missing(name):
                faults.append(f"{name}: is required")
        if inputs.get("mask") is not None and missing("image"):
            faults.append("mask: there is no image to repaint; give one as image")
        image, mask = values.get("image"), values.get("mask")
        if image and mask and image.size != mask.size:
            sizes = [f"{one.width} × {one.height}" for one in (mask, image)]
            notes.append(f"mask: its {sizes[0]} pixels were fitted like the image's {sizes[1]}")
        if mask and mask_source == "alpha" and values.get("invert_mask") is True:
            notes.append("invert_mask: has no effect where mask_source is alpha")
        if values.get("resample") == "nearest" and not (
            values.get("result_size") is not None
            or values.get("keep_size") is True
            or values.get("only_masked") is True
        ):
            notes.append("resample: has no effect without a result_size, keep_size or only_masked")
        if values.get("resize_mode") in ("pad", "stretch") and values.get("only_masked") is True:
            notes.append("resize_mode: has no effect with only_masked")
        if values.get("upscaler") and values.get("refine_scale", 1) == 1:
            notes.append("upscaler: has no effect without a refine_scale above 1")
        for name in ("prompt", "negative_prompt"):
            text = values.get(name)
            if values.get("use_compel") is True and isinstance(text, str):
                attempt(prompts.parse, name, text)
                notes += prompts.notes_on(name, text)
        return Request.of(values, faults, notes, upscalers, loras)


class Inpainting(Predictor):
    """The repainting of a part, by a model that was trained for it."""

    task = "inpainting"
    required = ("image", "mask")

    @cog.streaming
    @cog.concurrent(max=8)
    async def predict(
        self,
        prompt: str = Inputs.prompt,
        negative_prompt: str = Inputs.negative_prompt,
        image: Path = Inputs.required_image,
        num_images: int = Inputs.num_images,
        num_inference_steps: int = Inputs.num_inference_steps,
        guidance_scale: float = Inputs.guidance_scale,
        strength: float = Inputs.full_strength,
        width: Optional[int] = Inputs.width,
        height: Optional[int] = Inputs.height,
        seed: Optional[int] = Inputs.seed,
        use_compel: bool = Inputs.use_compel,
        mask: Path = Inputs.required_mask,
        scheduler: str = Inputs.scheduler,
        output_format: str = Inputs.output_format,
        output_quality: int = Inputs.output_quality,
        mask_source: str = Inputs.mask_source,
        invert_mask: bool = Inputs.invert_mask,
        mask_blur: int = Inputs.mask_blur,
        result_size: Optional[str] = Inputs.result_size,
        resample: str = Inputs.resample,
        mask_grow: int = Inputs.mask_grow,
        only_masked: bool = Inputs.only_masked,
        only_masked_padding: int = Inputs.only_masked_padding,
        extend_left: int = Inputs.extend_left,
        extend_top: int = Inputs.extend_top,
        extend_right: int = Inputs.extend_right,
        extend_bottom: int = Inputs.extend_bottom,
        keep_size: bool = Inputs.keep_size,
        resize_mode: str = Inputs.resize_mode,
        crop: Optional[str] = Inputs.crop,
        tiling: bool = Inputs.tiling,
        refine_scale: float = Inputs.refine_scale,
        refine_strength: float = Inputs.refine_strength,
        refine_steps: Optional[int] = Inputs.refine_steps,
        upscaler: Optional[str] = Inputs.upscaler,
        spacing: str = Inputs.spacing,
        eta: float = Inputs.eta,
        clip_skip: int = Inputs.clip_skip,
        loras: list[str] = Inputs.loras,
        model: Optional[str] = Inputs.model,
    ) -> AsyncIterator[Path]:
        inputs = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "image": image,
            "num_images": num_images,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "strength": strength,
            "width": width,
            "height": height,
            "seed": seed,
            "use_compel": use_compel,
            "mask": mask,
            "scheduler": scheduler,
            "output_format": output_format,
            "output_quality": output_quality,
            "mask_source": mask_source,
            "invert_mask": invert_mask,
            "mask_blur": mask_blur,
            "result_size": result_size,
            "resample": resample,
            "mask_grow": mask_grow,
            "only_masked": only_masked,
            "only_masked_padding": only_masked_padding,
            "extend_left": extend_left,
            "extend_top": extend_top,
            "extend_right": extend_right,
            "extend_bottom": extend_bottom,
            "keep_size": keep_size,
            "resize_mode": resize_mode,
            "crop": crop,
            "tiling": tiling,
            "refine_scale": refine_scale,
            "refine_strength": refine_strength,
            "refine_steps": refine_steps,
            "upscaler": upscaler,
            "spacing": spacing,
            "eta": eta,
            "clip_skip": clip_skip,
            "loras": loras,
            "model": model,
        }
        async with aclosing(self.answer(inputs)) as paths:
            async for path in paths:
                yield path


class DepthToImage(Predictor):
    """Image to image that keeps the depth of the picture."""

    task = "depth"
    required = ("image",)

    @cog.streaming
    @cog.concurrent(max=8)
    async def predict(
        self,
        prompt: str = Inputs.prompt,
        negative_prompt: str = Inputs.negative_prompt,
        image: Path = Inputs.required_image,
        num_images: int = Inputs.num_images,
        num_inference_steps: int = Inputs.num_inference_steps,
        guidance_scale: float = Inputs.guidance_scale,
        strength: float = Inputs.strength,
        width: Optional[int] = Inputs.width,
        height: Optional[int] = Inputs.height,
        seed: Optional[int] = Inputs.seed,
        use_compel: bool = Inputs.use_compel,
        mask: Optional[Path] = Inputs.mask,
        scheduler: str = Inputs.scheduler,
        output_format: str = Inputs.output_format,
        output_quality: int = Inputs.output_quality,
        mask_source: str = Inputs.mask_source,
        invert_mask: bool = Inputs.invert_mask,
        mask_blur: int = Inputs.mask_blur,
        result_size: Optional[str] = Inputs.result_size,
        resample: str = Inputs.resample,
        mask_grow: int = Inputs.mask_grow,
        only_masked: bool = Inputs.only_masked,
        only_masked_padding: int = Inputs.only_masked_padding,
        extend_left: int = Inputs.extend_left,
        extend_top: int = Inputs.extend_top,
        extend_right: int = Inputs.extend_right,
        extend_bottom: int = Inputs.extend_bottom,
        keep_size: bool = Inputs.keep_size,
        resize_mode: str = Inputs.resize_mode,
        crop: Optional[str] = Inputs.crop,
        tiling: bool = Inputs.tiling,
        refine_scale: float = Inputs.refine_scale,
        refine_strength: float = Inputs.refine_strength,
        refine_steps: Optional[int] = Inputs.refine_steps,
        upscaler: Optional[str] = Inputs.upscaler,
        spacing: str = Inputs.spacing,
        eta: float = Inputs.eta,
        clip_skip: int = Inputs.clip_skip,
        loras: list[str] = Inputs.loras,
        model: Optional[str] = Inputs.model,
    ) -> AsyncIterator[Path]:
        inputs = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "image": image,
            "num_images": num_images,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "strength": strength,
            "width": width,
            "height": height,
            "seed": seed,
            "use_compel": use_compel,
            "mask": mask,
            "scheduler": scheduler,
            "output_format": output_format,
            "output_quality": output_quality,
            "mask_source": mask_source,
            "invert_mask": invert_mask,
            "mask_blur": mask_blur,
            "result_size": result_size,
            "resample": resample,
            "mask_grow": mask_grow,
            "only_masked": only_masked,
            "only_masked_padding": only_masked_padding,
            "extend_left": extend_left,
            "extend_top": extend_top,
            "extend_right": extend_right,
            "extend_bottom": extend_bottom,
            "keep_size": keep_size,
            "resize_mode": resize_mode,
            "crop": crop,
            "tiling": tiling,
            "refine_scale": refine_scale,
            "refine_strength": refine_strength,
            "refine_steps": refine_steps,
            "upscaler": upscaler,
            "spacing": spacing,
            "eta": eta,
            "clip_skip": clip_skip,
            "loras": loras,
            "model": model,
        }
        async with aclosing(self.answer(inputs)) as paths:
            async for path in paths:
                yield path


class Upscaler(Predictor):
    """Four times the image's width and height, with the detail that the prompt asks for."""

    task = "upscale"
    required = ("image",)
    largest_side = 2000

    @cog.streaming
    @cog.concurrent(max=8)
    async def predict(
        self,
        prompt: str = Inputs.prompt,
        negative_prompt: str = Inputs.negative_prompt,
        image: Path = Inputs.required_image,
        num_images: int = Inputs.num_images,
        num_inference_steps: int = Inputs.num_inference_steps,
        guidance_scale: float = Inputs.guidance_scale,
        seed: Optional[int] = Inputs.seed,
        use_compel: bool = Inputs.use_compel,
        scheduler: str = Inputs.scheduler,
        output_format: str = Inputs.output_format,
        output_quality: int = Inputs.output_quality,
        spacing: str = Inputs.spacing,
        eta: float = Inputs.eta,
        clip_skip: int = Inputs.clip_skip,
        loras: list[str] = Inputs.loras,
        noise_level: int = Inputs.noise_level,
        model: Optional[str] = Inputs.model,
    ) -> AsyncIterator[Path]:
        inputs = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "image": image,
            "num_images": num_images,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "seed": seed,
            "use_compel": use_compel,
            "scheduler": scheduler,
            "output_format": output_format,
            "output_quality": output_quality,
            "spacing": spacing,
            "eta": eta,
            "clip_skip": clip_skip,
            "loras": loras,
            "noise_level": noise_level,
            "model": model,
        }
        async with aclosing(self.answer(inputs)) as paths:
            async for path in paths:
                yield path


def fetched(url: str) -> Path:
    """Fetch the file that an http(s) or data URL leads to, as Cog does."""
    path: Path = Path.validate(url).convert()
    return path
