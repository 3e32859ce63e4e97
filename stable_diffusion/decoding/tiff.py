"""TIFF: pictures of the kinds that Pillow does not read, from the bytes of their rows.

libtiff unpacks them for Pillow as if they were greys of 8 bits, as many as there are bytes in a
row. Depths, colours and predictors, of which it then knows nothing, are applied here.

Sources: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, and Adobe's supplements of
1995 (ICCLab) and 2005 (predictor 3).
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from stable_diffusion.decoding.colour import srgb_of_lab
from stable_diffusion.request import InputError

# Pillow's own decoder is wrong on planes of 16 bits and on YCbCr in which colours are coarser.
TiffImagePlugin.READ_LIBTIFF = True

_PILLOWS = ("1", "L", "P", "PA", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
"""The modes in which Pillow has all of a picture that 8 bits a channel hold."""
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOURS, _SAMPLES = 256, 257, 258, 259, 262, 277
_FILL_ORDER, _STRIPS, _ORIENTATION, _STRIP_ROWS, _STRIP_BYTES = 266, 273, 274, 278, 279
_PLANES, _PREDICTOR, _COLOUR_MAP, _EXTRA, _FORMAT = 284, 317, 320, 338, 339
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_PROFILE = 34675
_COMPRESSIONS = {1: "", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate"}
_COMPRESSIONS |= {34925: "LZMA", 50000: "Zstandard"}
"""Those of bytes, whatever they mean."""
_OTHER_COMPRESSIONS = {2: "fax", 3: "fax", 4: "fax", 6: "JPEG", 7: "JPEG", 34712: "JPEG 2000"}
_OTHER_COMPRESSIONS |= {34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}
_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _CMYK, _LAB, _ICC_LAB = 0, 1, 2, 3, 5, 8, 9
_CHANNELS = {_WHITE_IS_ZERO: 1, _GREY: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _LAB: 3, _ICC_LAB: 3}
_SPACES = {_WHITE_IS_ZERO: "greys", _GREY: "greys", _RGB: "RGB", _PALETTE: "a palette"}
_SPACES |= {_CMYK: "CMYK", 6: "YCbCr", _LAB: "Lab", _ICC_LAB: "Lab", 32844: "LogL", 32845: "LogLuv"}
_SPACES |= {32803: "a camera's raw data", 34892: "a camera's raw data"}
_ASSOCIATED, _UNASSOCIATED = 1, 2
"""Alpha that the colours are multiplied by, and alpha that they are not."""
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_NUMBERS = {_SIGNED: "signed ", _FLOAT: "floating-point "}
_DEPTHS = {_UNSIGNED: (*range(1, 17), 32), _FLOAT: (16, 32, 64)}
_MOST_SAMPLES = 8
_BAND_VALUES = 2**16
"""Values that are computed at once: enough to be quick, and few enough to take little memory."""

Array = NDArray[Any]


@dataclass(frozen=True)
class DeepTiff:
    """The first picture of a TIFF file that Pillow does not read as it looks."""

    data: bytes
    tags: Mapping[int, Any]
    size: tuple[int, int]
    """Width and height in pixels."""
    bits: int
    """Of a channel."""
    format: int
    colours: int
    samples: int
    """Channels, those beside colours among them."""
    extra: tuple[int, ...]
    """What the channels beside colours are."""
    compression: int
    predictor: int
    is_planar: bool
    tile_width: int
    """Pixels; a picture in strips has tiles as wide as it is."""

    @property
    def kind(self) -> str:
        """Its kind, for a fault."""
        space = _SPACES.get(self.colours, f"colours of kind {self.colours}")
        channel = f"{self.bits} {_NUMBERS.get(self.format, '')}bits a channel"
        methods = _COMPRESSIONS | _OTHER_COMPRESSIONS
        method = methods.get(self.compression, f"method {self.compression}")
        return f"a TIFF of {space} with {channel}" + (f", compressed by {method}" if method else "")

    @property
    def orientation(self) -> int:
        """How to turn it, as in EXIF."""
        return (*_numbers(self.tags, _ORIENTATION), 1)[0]

    @property
    def profiles(self) -> list[bytes]:
        """Its colour profile, if it has one."""
        profile = self.tags.get(_PROFILE)
        return [profile] if isinstance(profile, bytes) else []

    @property
    def is_readable(self) -> bool:
        """Whether `pixels` can read it."""
        depths: Any = (8, 16) if self.colours in (_LAB, _ICC_LAB) else _DEPTHS.get(self.format, ())
        predicted: Any = {1: depths}
        predicted |= {3: (16, 32, 64)} if self.format == _FLOAT else {2: (8, 16, 32)}
        return (
            _CHANNELS.get(self.colours, _MOST_SAMPLES + 1) <= self.samples <= _MOST_SAMPLES
            and self.bits in depths
            and self.bits in predicted.get(self.predictor, ())
            and self.compression in _COMPRESSIONS
            and not (self.colours == _PALETTE and (self.format == _FLOAT or self.bits > 16))
        )

    def pixels(self, name: str) -> tuple[Image.Image, Image.Image | None]:
        """Return its colours (mode L, RGB or CMYK) and its alpha channel, if it has one.

        Raises:
            InputError: when its numbers have no white.
        """
        width, height = self.size
        planes = [self._plane(index) for index in range(self.samples if self.is_planar else 1)]
        channels = 3 if self.colours == _PALETTE else _CHANNELS[self.colours]
        bands = numpy.empty((channels + (self._alpha is not None), height, width), numpy.uint8)
        sums = 0.0
        rows = max(1, _BAND_VALUES // (width * self.samples))
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            each = [self._values(plane.crop((0, top, plane.width, bottom))) for plane in planes]
            shares = self._shares(numpy.concatenate(each, axis=2))
            if self.format == _FLOAT:
                sums += float(shares[..., :channels].sum(dtype=numpy.float64))
            scaled = shares.clip(0, 1) * 255 + 0.5
            bands[:, top:bottom] = scaled.astype(numpy.uint8).transpose(2, 0, 1)
        if sums > width * height * channels:
            mean = sums / (width * height * channels)
            raise InputError(
                f"{name}: the file is {self.kind}, whose values are {mean:.3g} on average, where"
                " 1 is white; save it as PNG"
            )
        images = [Image.fromarray(band) for band in bands]
        alpha = images.pop() if self._alpha is not None else None
        if self.colours in (_LAB, _ICC_LAB):
            return srgb_of_lab(Image.merge("LAB", images)), alpha
        return Image.merge({1: "L", 3: "RGB", 4: "CMYK"}[channels], images), alpha

    @property
    def _alpha(self) -> int | None:
        """The channel of its alpha."""
        first = _CHANNELS[self.colours]
        for index, kind in enumerate(self.extra, first):
            if kind in (_ASSOCIATED, _UNASSOCIATED) and index < self.samples:
                return index
        return None

    def _plane(self, index: int) -> Image.Image:
        """Return the bytes of its rows, those of a plane if it has several, as a grey picture."""
        width = -(-self.size[0] // self.tile_width) * self.tile_width
        samples = 1 if self.is_planar else self.samples

        def size(pixels: int) -> int:
            return -(-pixels * samples * self.bits // 8)

        tags: dict[int, tuple[int, ...]] = {
            _WIDTH: (size(width),),
            _HEIGHT: (self.size[1],),
            _BITS: (8,),
            _COLOURS: (_GREY,),
        }
        for tag in (_COMPRESSION, _FILL_ORDER, _STRIP_ROWS, _TILE_HEIGHT):
            if numbers := _numbers(self.tags, tag):
                tags[tag] = numbers
        for tag in (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES):
            if numbers := _numbers(self.tags, tag):
                count = len(numbers) // (self.samples if self.is_planar else 1)
                tags[tag] = numbers[count * index : count * (index + 1)]
        if _TILES in tags:
            tags[_TILE_WIDTH] = (size(self.tile_width),)
        with TiffImagePlugin.TiffImageFile(_with_directory(self.data, tags)) as picture:
            picture.load()
            return picture

    def _values(self, rows: Image.Image) -> Array:
        """Return the numbers of rows of a plane: (rows, pixels, channels)."""
        packed = numpy.asarray(rows)
        samples = 1 if self.is_planar else self.samples
        order = "<" if self.data[:1] == b"I" else ">"
        dtype = f"{order}{'f' if self.format == _FLOAT else 'u'}{self.bits // 8}"
        if self.bits not in (8, 16, 32, 64):
            count = self.size[0] * samples
            return _unpacked(packed, self.bits, count).reshape(len(packed), -1, samples)
        if self.predictor == 3:
            tiles = packed.reshape(len(packed), -1, self.tile_width * samples * self.bits // 8)
            sums = tiles.reshape(*tiles.shape[:2], -1, samples).cumsum(axis=2, dtype=numpy.uint8)
            most_significant_first = sums.reshape(*tiles.shape[:2], self.bits // 8, -1)
            packed = numpy.ascontiguousarray(most_significant_first.swapaxes(2, 3))
            dtype = f">f{self.bits // 8}"
        values = packed.reshape(len(packed), -1).view(dtype).reshape(len(packed), -1, samples)
        if self.predictor == 2:
            pixels = values.reshape(len(values), -1, self.tile_width, samples)
            values = pixels.cumsum(axis=2, dtype=f"u{self.bits // 8}").reshape(values.shape)
        return values[:, : self.size[0]]

    def _shares(self, values: Array) -> Array:
        """Return colours, and alpha if there is any, as shares of the most: about 0 to 1."""
        channels = _CHANNELS[self.colours]
        if self.format == _FLOAT:
            shares = numpy.nan_to_num(values.astype(numpy.float32), posinf=1, neginf=0)
        else:
            shares = values.astype(numpy.float32) * numpy.float32(1 / (2**self.bits - 1))
        colours: Array = shares[..., :channels]
        if self.colours in (_LAB, _ICC_LAB):
            scale = 2 ** (self.bits - 8)
            chroma = values[..., 1:3] / numpy.float32(scale)
            if self.colours == _LAB:  # whose a and b are signed
                chroma = (chroma + 128) % 256
            light = shares[..., :1] * (
                (2**self.bits - 1) / (255 * scale) if self.colours == _ICC_LAB else 1
            )
            colours = numpy.concatenate([light, chroma / 255], axis=2)
        if self.colours == _PALETTE:
            colour_map = numpy.array(_numbers(self.tags, _COLOUR_MAP), numpy.float32)
            colours = colour_map.reshape(3, -1)[:, values[..., 0]].transpose(1, 2, 0) / 65535
        if self._alpha is None:
            return 1 - colours if self.colours == _WHITE_IS_ZERO else colours
        alpha = shares[..., self._alpha : self._alpha + 1]
        if self.extra[self._alpha - channels] == _ASSOCIATED:
            colours = numpy.divide(colours, alpha, out=numpy.zeros_like(colours), where=alpha > 0)
        if self.colours == _WHITE_IS_ZERO:
            colours = 1 - colours
        return numpy.concatenate([colours, alpha], axis=2)


def open_deep(name: str, data: bytes) -> DeepTiff | None:
    """Return a TIFF file that Pillow does not read as it looks; None for any other file.

    Raises:
        InputError: when it is of a kind that is not read here either.
    """
    if not data.startswith(tuple(TiffImagePlugin.PREFIXES)):
        return None
    tags = _directory(data)

    def number(tag: int, default: int) -> int:
        return (*_numbers(tags, tag), default)[0]

    width, colours, samples = number(_WIDTH, 0), number(_COLOURS, 0), number(_SAMPLES, 1)
    is_rgba = colours == _RGB and samples == 4
    tiff = DeepTiff(
        data,
        tags,
        size=(width, number(_HEIGHT, 0)),
        bits=number(_BITS, 1),
        format=number(_FORMAT, _UNSIGNED),
        colours=colours,
        samples=samples,
        extra=_numbers(tags, _EXTRA) or ((_UNASSOCIATED,) if is_rgba else ()),
        compression=number(_COMPRESSION, 1),
        predictor=number(_PREDICTOR, 1),
        is_planar=number(_PLANES, 1) == 2,
        tile_width=number(_TILE_WIDTH, width) if _TILES in tags else width,
    )
    with suppress(Exception):  # whatever it is that Pillow trips over, it does not read the file
        mode = TiffImagePlugin.TiffImageFile(io.BytesIO(data)).mode
        if mode in _PILLOWS and not (tiff.is_planar and tiff.is_readable):
            return None
    if min(*tiff.size, tiff.tile_width) < 1:
        raise UnidentifiedImageError
    if not tiff.is_readable:
        raise InputError(f"{name}: the file is {tiff.kind}, which can't be read; save it as PNG")
    return tiff


def is_cut_off(data: bytes) -> bool:
    """Return whether a file is a TIFF that says of pixels that they are behind its end."""
    pairs = (_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)
    with warnings.catch_warnings(action="ignore"), suppress(Exception):  # it is no sound TIFF
        tags = _directory(data)
        return any(
            start + size > len(data)
            for starts, sizes in pairs
            for start, size in zip(_numbers(tags, starts), _numbers(tags, sizes), strict=False)
        )
    return False


def _directory(data: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    is_big = data[2:4] in (b"+\0", b"\0+")
    directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if is_big else 8])
    file = io.BytesIO(data)
    file.seek(directory.next)
    directory.load(file)
    return directory


def _numbers(tags: Mapping[int, Any], tag: int) -> tuple[int, ...]:
    """Return the numbers of a tag: none, if it has other values or is not there."""
    value = tags.get(tag, ())
    values = value if isinstance(value, tuple) else (value,)
    return values if all(isinstance(each, int) for each in values) else ()


def _with_directory(data: bytes, tags: Mapping[int, tuple[int, ...]]) -> io.BytesIO:
    """Return a TIFF file with other tags, all of type LONG."""
    order = "<" if data[:1] == b"I" else ">"
    start = len(data) + len(data) % 2
    end = start + 2 + 12 * len(tags) + 4
    directory, behind = struct.pack(f"{order}H", len(tags)), b""
    for tag, numbers in sorted(tags.items()):
        body = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            body, behind = struct.pack(f"{order}I", end + len(behind)), behind + body
        directory += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + body
    file = io.BytesIO(data)
    file.write(data[:2] + struct.pack(f"{order}HI", 42, start))
    file.seek(start)
    file.write(directory + bytes(4) + behind)
    file.seek(0)
    return file


def _unpacked(packed: Array, bits: int, count: int) -> Array:
    """Return so many numbers of up to 16 bits from each row of bytes."""
    groups = -(-count // 8)  # each of 8 numbers, and so of as many bytes as a number has bits
    needed = packed[:, : groups * bits]
    padded = numpy.pad(needed, ((0, 0), (0, groups * bits - needed.shape[1])))
    whole = numpy.zeros((len(packed), groups, bits + 2), numpy.uint32)
    whole[..., :bits] = padded.reshape(len(packed), groups, bits)
    values = numpy.empty((len(packed), groups, 8), numpy.uint16)
    for index in range(8):
        at, shift = divmod(index * bits, 8)
        joined = whole[..., at] << 16 | whole[..., at + 1] << 8 | whole[..., at + 2]
        values[..., index] = joined >> (24 - bits - shift) & (2**bits - 1)
    return values.reshape(len(packed), -1)[:, :count]
