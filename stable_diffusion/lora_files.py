"""Files of LoRAs: low-rank differences to a model's layers, checked by their header, and read.

A LoRA adds `weight * scale * up @ down` to a layer's weight. The files of kohya's scripts, of
diffusers and of PEFT differ in names only, which `lora_layers` knows, and in where alpha is.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from stable_diffusion import json_files, lora_layers, weight_files
from stable_diffusion.json_files import FileError
from stable_diffusion.lora_layers import Place
from stable_diffusion.weight_files import NUMBER_BYTES, StoredTensor, Table

if TYPE_CHECKING:
    import torch

MOST_RANK = 512
MOST_TENSORS = 10_000
"""Of one file; a LoRA of all layers of Stable Diffusion has some 1,000."""
MOST_BYTES = 2**31
"""Of one file; one of rank 512 in half precision has some 600 MB."""
DTYPES = ("float64", "float32", "float16", "bfloat16")
LARGEST_SCALE = 1e6
"""Of alpha, and of alpha divided by the rank, which mostly is 1 or less."""
LONGEST_TRIGGER_CHARACTERS = 100
QUOTED_CHARACTERS = 100
LONGEST_NAME_CHARACTERS = 400
"""Of a tensor's name, as far as it is looked at."""

OTHER_METHODS = (
    (r"\.dora_scale$|lora_magnitude_vector", "a DoRA"),
    (r"\.hada_", "a LoHa"),
    (r"\.lokr_", "a LoKr"),
    (r"\.lora_mid\.", "a LoCon in CP decomposition"),
    (r"\.on_input$|\.ia3_l", "(IA)³"),
    (r"\.[ab][12]\.weight$", "a GLoRA"),
    (r"\.oft_|\.boft_", "an OFT"),
    (r"\.diff(_b)?$", "a file of full differences"),
    (r"\.[wb]_norm$", "a LoRA with differences of norms"),
    (r"\.scalar$", "a LoRA with factors that were learnt"),
    (r"lora_embedding_", "a LoRA of token embeddings"),
    (r"^bundle_emb\.", "a LoRA with embeddings in it"),
    (r"lora.*\.bias$", "a LoRA with biases"),
)
"""What else is found in such files, by the names of tensors, and what it is called."""
OTHER_BASES = (
    (
        r"^lora_te2_|(^|\.)text_encoder_2\.|^lora_unet_label_emb_|add_embedding",
        "Stable Diffusion XL",
    ),
    (r"double_blocks|single_blocks|single_transformer_blocks", "Flux"),
    (r"joint_blocks|^lora_te3_|(^|\.)text_encoder_3\.", "Stable Diffusion 3"),
    (r"^transformer\.|^lora_transformer_", "Flux, Stable Diffusion 3 or another transformer"),
    (r"^lora_prior_|^diffusion_model\.", "another kind of model"),
)
"""Models that are no Stable Diffusion 1 or 2, by the names of tensors in their LoRAs."""
CROSS_ATTENTION = re.compile(r"attn2[._](?:processor\.)?to_[kv]$")
BASES_BY_WIDTH = {
    768: "Stable Diffusion 1",
    1024: "Stable Diffusion 2",
    1280: "the refiner of Stable Diffusion XL",
    2048: "Stable Diffusion XL",
}
"""The models by how many features of the text their cross attention reads."""
OPENCLIP_LAYERS = 24
"""Of the text encoder that Stable Diffusion 2 was trained with; it reads the last but one."""
PLAIN_PATTERN = re.compile(r"\^?[\w.]{1,300}\$?")
"""A pattern of PEFT that names a layer; others are programs, and may take for ever."""


@dataclass(frozen=True, eq=False)
class LoraLayer:
    """What a LoRA adds to one layer: `weight * scale * up @ down`.

    down: (rank, in) for a linear layer, (rank, in, height, width) for a convolution, which it is
        itself, with the layer's stride and padding. On the CPU.
    up: (out, rank), on the CPU.
    scale: alpha / rank; 1 without alpha.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    @property
    def rank(self) -> int:
        """How many rows `down` has, and columns `up`."""
        return self.down.shape[0]


@dataclass(frozen=True, eq=False)
class Lora:
    """A LoRA, read.

    unet, text_encoder: its layers by the paths of the model's modules, within the UNet and within
        the text encoder (transformers' CLIPTextModel as it is here).
    hash: SHA-256 of its file, lower hex; one that has no file has a name of its own.
    """

    unet: Mapping[str, LoraLayer]
    text_encoder: Mapping[str, LoraLayer]
    hash: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class _Pair:
    """Where the parts of one layer lie in a file."""

    place: Place
    down: StoredTensor
    up: StoredTensor
    alpha: StoredTensor | None


def check(path: Path, pipeline: Any) -> str | None:
    """Check by a file's header alone that it is a LoRA for this model; return its trigger word.

    Args:
        pipeline: any of diffusers' Stable Diffusion pipelines.

    Raises:
        FileError: when it can't be used; the message says why.
    """
    _pairs(path, pipeline)
    metadata = weight_files.read_texts(path)
    _Alphas(path, metadata)
    return _trigger(metadata)


def load(path: Path, pipeline: Any, expected_hash: str | None = None) -> Lora:
    """Read a LoRA into memory, in the file's precision (float32 for float64).

    Args:
        pipeline: any of diffusers' Stable Diffusion pipelines.
        expected_hash: the file's SHA-256 in lower hex, or its beginning, where it must have one.

    Raises:
        FileError: when it can't be used, has numbers that are none, or another hash.
    """
    parts: dict[str, dict[str, LoraLayer]] = {"unet": {}, "text_encoder": {}}
    try:
        pairs = _pairs(path, pipeline)
        alphas = _Alphas(path, weight_files.read_texts(path))
        with path.open("rb") as file:
            digest = weight_files.require_hash(path, file, expected_hash)
            for pair in pairs:
                parts[pair.place.part][pair.place.path] = _read(path, file, pair, alphas)
    except OSError as error:
        raise weight_files.unreadable(path, json_files.error_text(error)) from error
    return Lora(**parts, hash=digest)


def _read(path: Path, file: BinaryIO, pair: _Pair, alphas: _Alphas) -> LoraLayer:
    down, up = _tensor(path, file, pair.down), _tensor(path, file, pair.up)
    rank = down.shape[0]
    if len(pair.place.shape) == 2:
        down = down.reshape(rank, -1)
    else:
        down = down.reshape(rank, *pair.place.shape[1:])
    scale = alphas.scale(pair.place, rank)
    if pair.alpha:
        scale = float(_tensor(path, file, pair.alpha).item()) / rank
    if abs(scale) > LARGEST_SCALE:
        raise FileError(f"{path} has an alpha of {scale * rank:g}, which no LoRA needs")
    return LoraLayer(down, up.reshape(up.shape[0], rank), scale)


def _tensor(path: Path, file: BinaryIO, stored: StoredTensor) -> torch.Tensor:
    tensor = weight_files.read_tensor(path, file, stored)
    return tensor.float() if stored.dtype == "float64" else tensor


def _pairs(path: Path, pipeline: Any) -> list[_Pair]:
    """Return what a file adds to which layers of the model.

    Raises:
        FileError: when it is not a LoRA for this model.
    """
    table = weight_files.require_safetensors(path)
    _require_bounds(path, table)
    _require_method_and_base(path, table, pipeline)
    layers = dict[str, dict[str, StoredTensor]]()
    for name, stored in table.items():
        found = lora_layers.split(name)
        if not found:
            raise FileError(f"{path} has {_quote(name)}, which is no part of a LoRA that is known")
        layer, part = found
        if part in layers.setdefault(layer, {}):
            raise FileError(f"{path} has {_quote(layer)} twice")
        layers[layer][part] = stored
    _require_width(path, layers, pipeline)
    places = lora_layers.places(pipeline)
    used = {name: parts for name, parts in layers.items() if not _is_unused(name, pipeline)}
    if unknown := next((name for name in used if name not in places), None):
        raise FileError(
            f"{path} is for another base model: it has {_quote(unknown)}, and this model "
            f"({_base_of(pipeline)}) has no such layer"
        )
    if not used:
        raise FileError(f"{path} has no LoRA in it for a layer that this model reads")
    pairs = dict[tuple[str, str], _Pair]()
    for name, parts in used.items():
        place = places[name]
        if (place.part, place.path) in pairs:
            raise FileError(f"{path} has the layer {place.path} twice, under different names")
        pairs[place.part, place.path] = _pair(path, name, parts, place)
    return list(pairs.values())


def _require_bounds(path: Path, table: Table) -> None:
    if not table:
        raise FileError(f"{path} has no LoRA in it, and no tensors at all")
    if len(table) > MOST_TENSORS:
        raise FileError(f"{path} has {len(table)} tensors; a LoRA has at most {MOST_TENSORS}")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise FileError(f"{path} has {size} bytes; a LoRA has at most {MOST_BYTES}")
    if sum(stored.numel * NUMBER_BYTES[stored.dtype] for stored in table.values()) > size:
        raise FileError(f"{path} claims more numbers than it has: get it from its makers again")


def _require_method_and_base(path: Path, table: Table, pipeline: Any) -> None:
    for pattern, what in OTHER_METHODS:
        if name := _first(pattern, table):
            raise FileError(
                f"{path} is {what} ({_quote(name)}), which is not served: "
                "give a plain LoRA or LoCon"
            )
    for pattern, base in OTHER_BASES:
        if name := _first(pattern, table):
            raise FileError(
                f"{path} is for another base model: it has {_quote(name)}, as LoRAs for {base} "
                f"have; this model is {_base_of(pipeline)}"
            )


def _first(pattern: str, names: Iterable[str]) -> str | None:
    expression = re.compile(pattern)
    return next((name for name in names if expression.search(name[:LONGEST_NAME_CHARACTERS])), None)


def _require_width(
    path: Path, layers: Mapping[str, Mapping[str, StoredTensor]], pipeline: Any
) -> None:
    """Check how many features of the text the cross attention reads, by which bases differ."""
    width = pipeline.unet.config.cross_attention_dim
    for name, parts in layers.items():
        down = parts.get("down")
        if not CROSS_ATTENTION.search(name) or not down or len(down.shape) < 2:
            continue
        if down.shape[1] != width:
            base = BASES_BY_WIDTH.get(down.shape[1], "something else")
            raise FileError(
                f"{path} is for another base model: {base}, whose cross attention reads "
                f"{down.shape[1]} features of the text ({_quote(name)}), where that of this model "
                f"({_base_of(pipeline)}) reads {width}"
            )


def _base_of(pipeline: Any) -> str:
    width = pipeline.unet.config.cross_attention_dim
    return BASES_BY_WIDTH.get(width, f"one with a text of {width} features")


def _is_unused(name: str, pipeline: Any) -> bool:
    """Return whether it is the text encoder's last layer, which OpenCLIP has and nothing reads."""
    last = len(pipeline.text_encoder.encoder.layers)
    return bool(
        re.match(rf"(?:lora_te1?_(?:text_model_)?)?encoder[._]layers[._]{last}[._]", name)
        and last == OPENCLIP_LAYERS - 1
    )


def _pair(path: Path, name: str, parts: Mapping[str, StoredTensor], place: Place) -> _Pair:
    """Check the parts of one layer: that they are whole, and fit each other and the layer."""
    for part in ("down", "up"):
        if part not in parts:
            raise FileError(f"{path} lacks the {part} part of {_quote(name)}: download it again")
    down, up, alpha = parts["down"], parts["up"], parts.get("alpha")
    for stored in filter(None, (down, up, alpha)):
        if stored.dtype not in DTYPES:
            raise FileError(
                f"{path} has numbers of type {stored.dtype} in {_quote(name)}; give it as one of "
                + ", ".join(DTYPES)
            )
    if alpha and alpha.shape not in ((), (1,)):
        raise FileError(f"{path} has an alpha of {_quote(name)} that is not one number")
    rank = down.shape[0] if down.shape else 0
    out, inner, *kernel = place.shape
    if not 0 < rank <= MOST_RANK or rank > max(out, inner * math.prod(kernel)):
        raise FileError(
            f"{path} has the rank {rank} in {_quote(name)}; a LoRA has 1 to {MOST_RANK}, and no "
            "more than its layer has inputs and outputs"
        )
    point = (1,) * 2
    downs = {(rank, *place.shape[1:])}
    if math.prod(kernel) == 1:
        downs |= {(rank, inner), (rank, inner, *point)}
    ups = {(out, rank), (out, rank, *point)}
    for part, stored, allowed, sides in (
        ("down", down, downs, (rank, *place.shape[1:])),
        ("up", up, ups, (out, rank)),
    ):
        if stored.shape not in allowed:
            raise FileError(
                f"{path} is for another base model, or lies about its shapes: {_quote(name)} has "
                f"a {part} part of {_sides(stored.shape)} where this model takes {_sides(sides)}"
            )
    return _Pair(place, down, up, alpha)


def _sides(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape)) or "one number"


def _quote(name: str) -> str:
    short = name if len(name) <= QUOTED_CHARACTERS else name[: QUOTED_CHARACTERS - 1] + "…"
    return repr(short)


class _Alphas:
    """The alphas that a file has in its metadata.

    diffusers writes PEFT's configuration there, each setting with "unet." or "text_encoder." before
    it. PEFT itself has it in a second file, which is not read, as diffusers doesn't: the hash would
    not cover it. Such a LoRA has its alpha by its weight.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str]) -> None:
        self._path = path
        self._settings = self._read(metadata)
        for name, pattern in self._patterns():
            if not PLAIN_PATTERN.fullmatch(pattern):
                raise FileError(
                    f"{path} has {_quote(pattern)} in its {name}, which is not a layer's name"
                )
        for key, value in self._settings.items():
            numbers = value.values() if isinstance(value, dict) else [value]
            if re.search(r"(^|\.)(lora_alpha|alpha_pattern)$", key) and not all(
                type(number) in (int, float) and abs(number) <= LARGEST_SCALE for number in numbers
            ):
                raise FileError(f"{path} has a {_quote(key)} that is not a number")
            if re.search(r"(^|\.)use_dora$", key) and value:
                raise FileError(f"{path} is a DoRA ({key}), which is not served: give a plain LoRA")

    def scale(self, place: Place, rank: int) -> float:
        """Return alpha / rank of a layer of which the file has no alpha itself."""
        alpha = self._setting(place.part, "lora_alpha")
        patterns = self._setting(place.part, "alpha_pattern") or {}
        for pattern, value in patterns.items():
            layer = pattern.removeprefix("^").removesuffix("$")
            layer = layer.removeprefix("text_model.")
            if place.path == layer or place.path.endswith("." + layer):
                alpha = value
                break
        if alpha is None:
            return 1.0
        rooted = self._setting(place.part, "use_rslora") is True
        return float(alpha) / (math.sqrt(rank) if rooted else rank)

    def _setting(self, part: str, name: str) -> Any:
        prefixed = f"{part}.{name}"
        return self._settings.get(prefixed, self._settings.get(name))

    def _patterns(self) -> Iterable[tuple[str, str]]:
        for key, value in self._settings.items():
            if re.search(r"(^|\.)alpha_pattern$", key):
                if value is not None and not isinstance(value, dict):
                    raise FileError(f"{self._path} has an {_quote(key)} that is not an object")
                yield from ((key, pattern) for pattern in value or {})

    def _read(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        if text := metadata.get("lora_adapter_metadata"):
            try:
                return json_files.parse(text.encode())
            except ValueError as error:
                raise FileError(f"{self._path} has broken metadata: {error}") from error
        return {}


def _trigger(metadata: Mapping[str, str]) -> str | None:
    """Return the word that brings a LoRA's subject into the picture, as far as its file says it."""
    for key in ("modelspec.trigger_phrase", "trigger"):
        if word := _plain(metadata.get(key)):
            return word
    return _plain(_tag_of_all_pictures(metadata))


def _tag_of_all_pictures(metadata: Mapping[str, str]) -> str | None:
    """Return the tag that most pictures of kohya's training had, if all had it."""
    frequency, folders = (
        _parsed(metadata.get(key)) for key in ("ss_tag_frequency", "ss_dataset_dirs")
    )
    pictures: list[Any] = [
        folder.get("img_count") for folder in folders.values() if isinstance(folder, dict)
    ]
    if not pictures or not all(type(count) is int and count > 0 for count in pictures):
        return None
    counts = dict[str, int]()
    for tags in frequency.values():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if type(count) is int:
                counts[tag] = counts.get(tag, 0) + count
    most = max(counts, key=lambda tag: counts[tag], default=None)
    return most if most is not None and counts[most] >= sum(pictures) else None


def _parsed(text: str | None) -> dict[str, Any]:
    try:
        return json_files.parse((text or "{}").encode())
    except ValueError:
        return {}


def _plain(text: str | None) -> str | None:
    text = text.strip() if text else ""
    fits = 0 < len(text) <= LONGEST_TRIGGER_CHARACTERS and text.isprintable()
    return text if fits else None
