"""OpenVINO: UNet and autoencoder of a loaded model, compiled for the processor.

Each part has a compiled form that takes inputs of any size. A small UNet has further ones beside
it, for single sizes, which are faster and as large in memory as its weights: the native size at
once, others in the background, when their calls have taken so long that the gain pays for it. The
UNet of Stable Diffusion 2.1 gains 2% by them at 512 px, the demo model's 27% at 128 px.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stable_diffusion.executors import conversion

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
"""OpenVINO's names of precisions; without one it uses bfloat16 wherever the processor can."""
FORMS_BYTES = 2**30
"""Bytes of memory that the UNet's forms for single sizes may take together.

None of a large UNet fits, and it would gain too little.
"""
KERNELS_BYTES = 50 * 2**20
"""Bytes of memory that a form takes beside the weights and the numbers of a call."""
LIVE_NUMBERS = 21
"""Numbers that a form holds for each latent pixel and each channel of the UNet's first block."""
GAIN_SHARE = 0.2
"""Share of its time that a call of a small UNet saves in a form for its size: 0.08 to 0.29."""

Size = tuple[int, int, int, int]
"""Rows, height and width of the latents, tokens of the text."""


class OpenVinoParts:
    """UNet and autoencoder of a loaded model, compiled by OpenVINO for this processor.

    They compute with the weights that the model has when they are prepared. Their methods may be
    called from any thread; nothing else of the pipeline is touched. Until `prepare` is done they
    answer None, as they do for what they are not made for: then the plain way serves.

    Args:
        pipeline: diffusers', on the CPU.
        dtype: the precision of the UNet. bfloat16 and float16 are used where the processor has
            them, else float32. The autoencoder computes in this precision too, but in float32
            where its own weights are.
        cache_dir: where the converted model is kept; None keeps nothing.
        memory: bytes that the compiled forms may take; None sets no limit.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        dtype: torch.dtype,
        cache_dir: Path | None,
        memory: int | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._dtype = dtype
        self._cache_dir = cache_dir
        self._memory = memory
        # Now: within a step torch may compute in one thread, while a form is compiled beside it.
        self._threads = torch.get_num_threads()
        self._unet: _Unet | None = None
        self._decoder: _Form | None = None
        self._encoder: _Form | None = None

    @property
    def sizes(self) -> frozenset[Size]:
        """The sizes for which the UNet has a form of its own now."""
        return frozenset(self._unet.forms) if self._unet else frozenset()

    def prepare(self) -> None:
        """Convert the parts, or find them converted, and compile them.

        It takes seconds to minutes. What is compiled stays in memory beside torch's weights.

        Raises:
            MemoryError: when the compiled forms would take more than they may.
            ImportError: when OpenVINO is not installed.
            RuntimeError: when OpenVINO fails.
        """
        pipeline = self._pipeline
        unet, vae = pipeline.unet, pipeline.vae
        # A form has a copy of the weights, in the layout that its kernels want.
        room = FORMS_BYTES
        if self._memory is not None:
            room = min(room, self._memory - _bytes(unet) - _bytes(vae))
        if room < 0:
            raise MemoryError("there is not enough memory for the model compiled by OpenVINO")
        openvino = conversion.import_openvino()
        core = openvino.Core()

        def compile_model(model: Any, dtype: torch.dtype) -> _Form:
            settings = {
                "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
                "INFERENCE_NUM_THREADS": self._threads,
                "NUM_STREAMS": 1,
                # Two processes that pin their threads would pin them to the same cores.
                "ENABLE_CPU_PINNING": False,
            }
            return _Form(openvino, core.compile_model(model, "CPU", settings))

        models = conversion.converted(core, conversion.parts_of(pipeline), self._cache_dir)
        vae_dtype = torch.float32 if vae.dtype == torch.float32 else self._dtype
        decoder = compile_model(models["decoder"], vae_dtype)
        encoder = compile_model(models["encoder"], vae_dtype)
        forms = _Unet(unet, models["unet"], lambda model: compile_model(model, self._dtype), room)
        # One default prediction: one image of the native size, with guidance.
        side = unet.config.sample_size
        tokens = pipeline.text_encoder.config.max_position_embeddings
        forms.add((2, side, side, tokens))
        self._unet, self._decoder, self._encoder = forms, decoder, encoder

    def unet(
        self,
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        class_labels: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """Call the UNet; return (rows, 4, height, width) in the sample's precision, or None.

        Args:
            sample: (rows, channels, height, width).
            timesteps: (rows,), or one for all.
            encoder_hidden_states: (rows, tokens, width of the text encoder).
            class_labels: (rows,), where the model has them.
        """
        unet = self._unet
        rows, _, height, width = sample.shape
        # The UNet halves the size so many times; tracing has followed its way for what can be.
        halvings: int = self._pipeline.unet.num_upsamplers
        if unet is None or height % 2**halvings or width % 2**halvings:
            return None
        labels = [] if class_labels is None else [class_labels.long()]
        text = encoder_hidden_states
        channels = self._pipeline.unet.config.out_channels
        return unet(
            (rows, height, width, text.shape[1]),
            (rows, channels, height, width),
            [sample.float(), timesteps.float().expand(rows), text.float(), *labels],
        ).to(sample.dtype)

    def decode(self, latents: torch.Tensor) -> torch.Tensor | None:
        """Compute `vae.decode(latents, return_dict=False)[0]`; None: not ready, or in tiles.

        Args:
            latents: (pictures, 4, height, width), divided by the scaling factor.

        Returns:
            (pictures, 3, height × scale, width × scale), in the latents' precision.
        """
        vae, scale = self._pipeline.vae, self._pipeline.vae_scale_factor
        pictures, _, height, width = latents.shape
        if self._decoder is None or _is_tiled(vae, max(height, width), vae.tile_latent_min_size):
            return None
        shape = pictures, vae.config.out_channels, height * scale, width * scale
        return self._decoder(shape, [latents.float()]).to(latents.dtype)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor | None:
        """Return the mean of `vae.encode(pixels)`, not scaled; None: not ready, or in tiles.

        Args:
            pixels: (pictures, 3, height, width), from -1 to 1.

        Returns:
            (pictures, 4, height / scale, width / scale), in the pixels' precision.
        """
        vae, scale = self._pipeline.vae, self._pipeline.vae_scale_factor
        pictures, _, height, width = pixels.shape
        if self._encoder is None or _is_tiled(vae, max(height, width), vae.tile_sample_min_size):
            return None
        shape = pictures, vae.config.latent_channels, height // scale, width // scale
        return self._encoder(shape, [pixels.float()]).to(pixels.dtype)


class _Form:
    """A compiled model, which takes one call at a time."""

    def __init__(self, openvino: Any, compiled: Any) -> None:
        self._openvino = openvino
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, shape: tuple[int, ...], inputs: list[torch.Tensor]) -> torch.Tensor:
        """Compute the output, of a given shape, in memory of its own and without copies."""
        output = torch.empty(shape)
        arrays = [tensor.detach().contiguous().numpy() for tensor in inputs]
        with self._lock:
            shared = self._openvino.Tensor(output.numpy(), shared_memory=True)
            self._request.set_output_tensor(shared)
            self._request.infer(arrays, share_inputs=True, share_outputs=True)
        return output


class _Unet:
    """The UNet's forms: one for all sizes, and further ones for single sizes.

    Args:
        unet: the library's.
        model: OpenVINO's, for inputs of any size.
        compile_model: makes a form of such a model.
        room: bytes for the forms for single sizes; the least recently used makes room for another.
    """

    def __init__(
        self, unet: Any, model: Any, compile_model: Callable[[Any], _Form], room: int
    ) -> None:
        self._config = unet.config
        self._weights_bytes = _bytes(unet)
        self._model = model
        self._compile_model = compile_model
        self._room = room
        self._any_size = compile_model(model)
        self._compiling_seconds = 0.0
        self._is_compiling = False
        self._lock = threading.Lock()
        self._seconds = defaultdict[Size, float](float)
        self.forms: dict[Size, _Form] = {}
        """The forms for single sizes; the least recently used comes first."""

    def __call__(
        self, size: Size, shape: tuple[int, ...], inputs: list[torch.Tensor]
    ) -> torch.Tensor:
        """Compute the output, of a given shape."""
        with self._lock:
            form = self.forms.pop(size, None)
            if form:
                self.forms[size] = form
        if form:
            return form(shape, inputs)
        start = time.monotonic()
        output = self._any_size(shape, inputs)
        self._count(size, time.monotonic() - start)
        return output

    def add(self, size: Size) -> None:
        """Compile the form for a size, where there is room for it."""
        if self._bytes(size) > self._room:
            return
        rows, height, width, tokens = size
        start = time.monotonic()
        model = self._model.clone()
        channels, text_width = self._config.in_channels, self._config.cross_attention_dim
        shapes = [[rows, channels, height, width], [rows], [rows, tokens, text_width], [rows]]
        model.reshape(dict(zip(range(len(model.inputs)), shapes, strict=False)))
        form = self._compile_model(model)
        with self._lock:
            self._compiling_seconds = time.monotonic() - start
            while sum(map(self._bytes, [*self.forms, size])) > self._room:
                self.forms.pop(next(iter(self.forms)))
            self.forms[size] = form

    def _bytes(self, size: Size) -> int:
        """Return the bytes of memory that the form for a size takes."""
        rows, height, width, _ = size
        channels: int = self._config.block_out_channels[0]
        numbers = LIVE_NUMBERS * channels * rows * height * width
        return KERNELS_BYTES + self._weights_bytes + 4 * numbers

    def _count(self, size: Size, seconds: float) -> None:
        """Count a call's time; compile a form in the background once it pays."""
        with self._lock:
            self._seconds[size] += seconds
            pays = self._seconds[size] * GAIN_SHARE > self._compiling_seconds
            if not pays or self._is_compiling or self._bytes(size) > self._room:
                return
            self._is_compiling = True
            del self._seconds[size]
        threading.Thread(target=self._add_behind, args=(size,), name="openvino").start()

    def _add_behind(self, size: Size) -> None:
        try:
            self.add(size)
        # Whatever it is, the form for all sizes serves.
        except (RuntimeError, MemoryError) as error:
            self._room = 0
            reason = " ".join(str(error).split())
            print(f"OpenVINO compiles the UNet for no further sizes: {reason}", file=sys.stderr)
        finally:
            self._is_compiling = False


def _bytes(module: torch.nn.Module) -> int:
    """Return the bytes of a module's weights in float32."""
    return sum(4 * weights.numel() for weights in module.parameters())


def _is_tiled(vae: Any, side: int, largest: int) -> bool:
    """Return whether diffusers' VAE would process an image of this side in tiles."""
    return bool(vae.use_tiling) and side > largest
