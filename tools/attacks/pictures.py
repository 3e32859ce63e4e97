"""Hostile picture files, small themselves, by format and what is wrong with them."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST_SIDE = 2**31 - 1
TRUNCATIONS, CHANGES = 3, 5
"""Files that each sane one is cut off and changed to, at random places but always the same."""


def chunk(kind: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a chunk of a PNG; it may lie about its length."""
    size = struct.pack(">I", len(data) if length is None else length)
    return size + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    depth: int,
    colours: int,
    pixels: bytes,
    *more: bytes,
    ends: bool = True,
) -> bytes:
    """Return a PNG file by its specification, for what Pillow would not write.

    Args:
        pixels: its rows, each with the byte of its filter before it; not compressed yet.
        more: chunks before those of the pixels.
    """
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    parts = [PNG, chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(pixels))]
    return b"".join(parts) + (chunk(b"IEND") if ends else b"")


def pictures() -> Iterator[tuple[str, bytes]]:
    """Yield all, with their names."""
    for kind, of_kind in KINDS.items():
        yield from ((f"{kind}: {name}", data) for name, data in of_kind())
    chance = random.Random(1)
    for kind, data in sane().items():
        for _ in range(TRUNCATIONS):
            at = chance.randrange(len(data))
            yield f"{kind}: truncated at {at}", data[:at]
        for _ in range(CHANGES):
            changed = bytearray(data)
            for at in (chance.randrange(min(len(data), 200)), chance.randrange(len(data))):
                changed[at] = chance.choice((0, 0x7F, 0x80, 0xFF, changed[at] ^ 1))
            yield f"{kind}: changed, {chance.random():.6f}", bytes(changed)


def hostile(name: str) -> bytes:
    """Return one by its name."""
    return dict(KINDS[name.partition(":")[0]]())[name.partition(": ")[2]]


def sane() -> dict[str, bytes]:
    """Return a picture in each format that is read."""
    picture = Image.radial_gradient("L").resize((48, 32))
    colours = Image.merge("RGB", (picture, picture.rotate(90), picture.rotate(180)))

    def saved(image: Image.Image, kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return {
        "PNG": saved(colours, "PNG"),
        "JPEG": saved(colours, "JPEG"),
        "progressive JPEG": saved(colours, "JPEG", progressive=True),
        "WebP": saved(colours, "WEBP"),
        "lossless WebP": saved(colours.convert("RGBA"), "WEBP", lossless=True),
        "GIF": saved(colours.quantize(16), "GIF"),
        "BMP": saved(colours, "BMP"),
        "TIFF": saved(colours, "TIFF"),
        "TIFF by LZW": saved(colours, "TIFF", compression="tiff_lzw"),
        "TIFF by JPEG": saved(colours, "TIFF", compression="jpeg"),
        "TIFF of 32 bits": saved(picture.convert("F"), "TIFF", compression="tiff_lzw"),
        "AVIF": saved(colours, "AVIF"),
    }


def _pngs() -> Iterator[tuple[str, bytes]]:
    row = b"\0" + bytes(3)
    for size in ((60_000, 60_000), (LARGEST_SIDE, LARGEST_SIDE), (LARGEST_SIDE, 1), (0, 0), (1, 0)):
        yield f"{size} pixels", png(*size, 8, 2, row)
    yield "2³² pixels wide", png(2**32 - 1, 2**32 - 1, 8, 2, row)
    yield "one pixel high and as wide as may be", png(64_000_000, 1, 1, 0, bytes(8_000_001))
    yield "one pixel wide and as high as may be", png(1, 64_000_000, 1, 0, bytes(10**6))
    yield "as many pixels as may be", png(8000, 8000, 8, 2, bytes(8000 * 24_001))
    yield "far more pixels than it says", png(1, 1, 8, 2, bytes(2**26))
    yield "fewer pixels than it says", png(1000, 1000, 8, 2, bytes(100))
    for depth, colours in ((3, 2), (0, 2), (255, 2), (8, 7), (8, 255), (16, 3), (1, 6), (4, 3)):
        yield f"depth {depth} of colours {colours}", png(4, 4, depth, colours, bytes(200))
    yield (
        "an index beyond the palette",
        png(4, 4, 8, 3, b"\0\xff\xff\xff\xff" * 4, chunk(b"PLTE", bytes(3))),
    )
    yield "a palette of one byte", png(4, 4, 8, 3, bytes(20), chunk(b"PLTE", b"\0"))
    yield "unknown filters", png(4, 4, 8, 2, (b"\x09" + bytes(12)) * 4)
    yield "no end", png(1, 1, 8, 2, row, ends=False)
    yield "the signature alone", PNG
    yield "no header", PNG + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND")
    yield "a short header", PNG + chunk(b"IHDR", bytes(5)) + chunk(b"IEND")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    yield "two headers", png(1, 1, 8, 2, row, header)
    yield "a header behind the pixels", png(1, 1, 8, 2, row, ends=False) + header + chunk(b"IEND")
    for length in (2**31 - 1, 2**31, 2**32 - 1):
        yield f"a chunk of {length} bytes", png(1, 1, 8, 2, row, chunk(b"tEXt", b"a", length))
    yield "no pixels", png(1, 1, 8, 2, b"")
    yield (
        "pixels that are not compressed",
        PNG + header + chunk(b"IDAT", bytes(99)) + chunk(b"IEND"),
    )
    yield "a wrong checksum", png(1, 1, 8, 2, row).replace(b"IEND\xae", b"IEND\xaf")
    bomb = zlib.compress(bytes(2**26))
    yield "a compressed text of 64 MiB", png(1, 1, 8, 2, row, chunk(b"zTXt", b"a\0\0" + bomb))
    yield (
        "an international text of 64 MiB",
        png(1, 1, 8, 2, row, chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)),
    )
    yield "a profile of 64 MiB", png(1, 1, 8, 2, row, chunk(b"iCCP", b"a\0\0" + bomb))
    for name, profile in _profiles():
        packed = chunk(b"iCCP", b"a\0\0" + zlib.compress(profile))
        yield f"a profile {name}", png(1, 1, 8, 2, row, packed)
    yield "a profile that is not compressed", png(1, 1, 8, 2, row, chunk(b"iCCP", b"a\0\0zzzz"))
    yield "a million empty chunks", png(1, 1, 8, 2, row, chunk(b"tEXt") * 10**6)
    yield "pixels in a million chunks", png(1, 1, 8, 2, row, chunk(b"IDAT") * 10**6)
    for gamma in (0, 1, 2**31, 2**32 - 1):
        yield f"gamma {gamma}", png(1, 1, 8, 2, row, chunk(b"gAMA", struct.pack(">I", gamma)))
    yield "a gamma of two bytes", png(1, 1, 8, 2, row, chunk(b"gAMA", b"\0\1"))
    for value in (0, 1, 2**31, 2**32 - 1):
        places = struct.pack(">I", value) * 8
        yield f"primaries and white at {value}", png(1, 1, 8, 2, row, chunk(b"cHRM", places))
    yield "primaries without a white", png(1, 1, 8, 2, row, chunk(b"cHRM", bytes(9)))
    for numbers in (bytes(4), b"\xff" * 4, b"\x09\x10\0\1", b"\1"):
        yield f"colours of {numbers.hex()}", png(1, 1, 8, 2, row, chunk(b"cICP", numbers))
    yield "a transparency too long", png(1, 1, 8, 2, row, chunk(b"tRNS", bytes(1000)))
    yield "a transparency too short", png(1, 1, 8, 2, row, chunk(b"tRNS", b"\0"))
    for name, exif in _exifs():
        yield f"EXIF {name}", png(1, 1, 8, 2, row, chunk(b"eXIf", exif))
    frame = struct.pack(">IIIIIHHBB", 0, *(2**31 - 1,) * 4, 0, 0, 0, 0)
    animated = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + chunk(b"fcTL", frame)
    yield "an animation of huge frames", png(1, 1, 8, 2, row, animated)
    yield "ten thousand frames", png(1, 1, 8, 2, row, animated, chunk(b"fcTL", frame) * 10_000)


def _profiles() -> Iterator[tuple[str, bytes]]:
    yield "of zeros", bytes(500)
    yield "that lies about its size", struct.pack(">I", 2**32 - 1) + bytes(32) + b"acsp" + bytes(99)
    head = struct.pack(">I4sI4s4s4s", 128, b"none", 0x04400000, b"mntr", b"RGB ", b"XYZ ")
    yield "of no tags", head + bytes(12) + b"acsp" + bytes(88) + bytes(4)
    yield "of 2³² tags", head + bytes(12) + b"acsp" + bytes(88) + b"\xff" * 400


def _exifs() -> Iterator[tuple[str, bytes]]:
    yield "of zeros", bytes(100)
    yield "that is its own next", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"
    for kind, count, value in (
        (3, 2**32 - 1, 6),
        (2, 10**6, 8),
        (99, 1, 6),
        (4, 1, 2**32 - 1),
        (5, 1, 8),
    ):
        entry = struct.pack("<HHII", 0x0112, kind, count, value)
        yield f"of type {kind}, {count} times", b"II*\0\x08\0\0\0\1\0" + entry + b"\x08\0\0\0"
    inner = struct.pack("<HHII", 0x8769, 4, 1, 8)
    yield "within itself", b"II*\0\x08\0\0\0\1\0" + inner + b"\x08\0\0\0"
    yield "of 65,535 entries", b"II*\0\x08\0\0\0\xff\xff" + inner * 65_535


def _jpegs() -> Iterator[tuple[str, bytes]]:
    plain, progressive = sane()["JPEG"], sane()["progressive JPEG"]
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    yield "300 scans", progressive[:-2] + scan * 300 + b"\xff\xd9"
    segment = b"\xff\xe2" + struct.pack(">H", 6) + b"MPF\0"
    yield "300 scans of a camera's", progressive[:2] + segment + progressive[2:-2] + scan * 300
    at = plain.index(b"\xff\xc0") + 5
    for size in ((0xFFFF, 0xFFFF), (0, 0), (0, 48), (8000, 8000), (1, 0xFFFF)):
        yield f"{size} pixels", plain[:at] + struct.pack(">HH", *size) + plain[at + 4 :]
    for components in (0, 1, 2, 4, 255):
        yield f"{components} components", plain[: at + 4] + bytes([components]) + plain[at + 5 :]
    for sampling in (0x00, 0x44, 0xFF):
        yield f"sampling {sampling:#x}", plain[: at + 6] + bytes([sampling]) + plain[at + 7 :]
    for marker in (0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCB, 0xDE):
        yield f"a frame of kind {marker:#x}", plain.replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    for marker in (0xC4, 0xDB, 0xDA, 0xC0):
        before, sign, rest = plain.partition(bytes([0xFF, marker]))
        behind = rest[int.from_bytes(rest[:2], "big") :]
        yield f"no segment {marker:#x}", before + behind
        yield f"an empty segment {marker:#x}", before + sign + b"\0\2" + rest[2:]
        yield f"a segment {marker:#x} of no length", before + sign + b"\0\0" + rest[2:]
    start = plain[:2]
    comment = b"\xff\xfe" + struct.pack(">H", 4) + b"ab"
    yield "a hundred thousand comments", start + comment * 100_000 + plain[2:]
    yield "a hundred thousand restarts", plain[:-2] + b"\xff\xd0" * 100_000 + b"\xff\xd9"
    yield "a million fill bytes", start + b"\xff" * 10**6 + plain[2:]
    yield "no end", plain[:-2]
    yield (
        "no end, and pixels of which none are there",
        plain[:at] + b"\x1f\x40" * 2 + plain[at + 4 : -2],
    )
    yield "no end, and 90 scans", progressive[:-2] + scan * 90
    yield "the start alone", b"\xff\xd8\xff"
    yield "the start a million times", b"\xff\xd8" * 10**6
    for name, profile in _profiles():
        body = b"ICC_PROFILE\0\1\1" + profile
        segment = b"\xff\xe2" + struct.pack(">H", 2 + len(body)) + body
        yield f"a profile {name}", start + segment + plain[2:]
    body = b"ICC_PROFILE\0\xff\xff" + bytes(60_000)
    segment = b"\xff\xe2" + struct.pack(">H", 2 + len(body)) + body
    yield "a profile in too many parts", start + segment * 200 + plain[2:]
    for name, exif in _exifs():
        body = (b"Exif\0\0" + exif)[:65_000]
        segment = b"\xff\xe1" + struct.pack(">H", 2 + len(body)) + body
        yield f"EXIF {name}", start + segment + plain[2:]
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
    for transform in (0, 1, 2, 255):
        yield f"Adobe's transform {transform}", start + adobe + bytes([transform]) + plain[2:]


def _webps() -> Iterator[tuple[str, bytes]]:
    plain, lossless = sane()["WebP"], sane()["lossless WebP"]

    def riff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
        body = b"".join(
            kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
            for kind, data in chunks
        )
        return b"RIFF" + struct.pack("<I", 4 + len(body) if size is None else size) + b"WEBP" + body

    picture = plain[12:16], plain[20:]
    for name, flags in (("a canvas", 0), ("an animation's canvas", 2), ("a canvas with alpha", 16)):
        canvas = b"VP8X", bytes([flags, 0, 0, 0]) + b"\xff\x3f\0" * 2
        yield f"{name} of 16384 × 16384 pixels", riff(canvas, picture)
        largest = b"VP8X", bytes([flags, 0, 0, 0]) + b"\xff" * 6
        yield f"{name} of 2²⁴ × 2²⁴ pixels", riff(largest, picture)
    animated = b"VP8X", b"\2\0\0\0" + b"\x2f\0\0\x1f\0\0"
    control = b"ANIM", bytes(6)
    frame = b"ANMF", b"\xff\xff\xff" * 2 + b"\xff\x3f\0" * 2 + bytes(4) + plain[12:]
    yield "a frame outside of the canvas", riff(animated, control, frame)
    small = b"ANMF", bytes(6) + b"\x2f\0\0\x1f\0\0" + bytes(4) + plain[12:]
    yield "a thousand frames", riff(animated, control, *[small] * 1000)
    yield "an animation of no frames", riff(animated, control)
    for size in (0, 1, 2**31, 2**32 - 1):
        yield f"a size of {size}", riff(picture, size=size)
    yield "lossless, 16384 × 16384 pixels", lossless[:21] + b"\xff\xff\xff\x0f" + lossless[25:]
    yield "lossy, 16383 × 16383 pixels", plain[:26] + b"\xff\x3f\xff\x3f" + plain[30:]
    yield "lossy, no pixels", plain[:26] + bytes(4) + plain[30:]
    alpha = b"VP8X", b"\x10\0\0\0" + b"\x2f\0\0\x1f\0\0"
    yield "broken alpha", riff(alpha, (b"ALPH", b"\xff" * 40), picture)
    yield "a hundred thousand chunks", riff(alpha, *[(b"XXXX", b"")] * 100_000, picture)
    for name, profile in _profiles():
        flagged = b"VP8X", b"\x20\0\0\0" + b"\x2f\0\0\x1f\0\0"
        yield f"a profile {name}", riff(flagged, (b"ICCP", profile), picture)
    for name, exif in _exifs():
        flagged = b"VP8X", b"\x08\0\0\0" + b"\x2f\0\0\x1f\0\0"
        yield f"EXIF {name}", riff(flagged, picture, (b"EXIF", exif))


def _gifs() -> Iterator[tuple[str, bytes]]:
    def screen(width: int, height: int, flags: int = 0x80) -> bytes:
        return b"GIF89a" + struct.pack("<HHBBB", width, height, flags, 0, 0) + bytes(6)

    def frame(
        box: tuple[int, int, int, int], data: bytes = b"\2\2\x4c\1\0", flags: int = 0
    ) -> bytes:
        return b"," + struct.pack("<HHHHB", *box, flags) + data

    small = frame((0, 0, 1, 1))
    yield "a screen of 65,535 × 65,535 pixels", screen(65_535, 65_535) + small + b";"
    yield "a screen of 8000 × 8000 pixels", screen(8000, 8000) + small + b";"
    yield "no screen", screen(0, 0) + small + b";"
    yield "no frame", screen(4, 4) + b";"
    yield "a frame outside of the screen", screen(4, 4) + frame((65_000, 65_000, 500, 500)) + b";"
    yield "a frame larger than the screen", screen(1, 1) + frame((0, 0, 65_535, 65_535)) + b";"
    yield "a frame of no pixels", screen(4, 4) + frame((0, 0, 0, 0)) + b";"
    yield "a hundred thousand frames", screen(1, 1) + small * 100_000 + b";"
    yield "no end", screen(1, 1) + small
    for bits in (0, 1, 12, 13, 255):
        yield (
            f"codes of {bits} bits",
            screen(4, 4) + frame((0, 0, 4, 4), bytes([bits]) + b"\4abcd\0") + b";",
        )
    endless = b"\2" + (b"\xff" + b"\x24\x49\x92" * 85) * 10_000 + b"\0"
    yield "nothing but clears", screen(4000, 4000) + frame((0, 0, 4000, 4000), endless) + b";"
    extension = b"!\xfe" + (b"\xff" + b"a" * 255) * 10_000 + b"\0"
    yield "a comment of 2.5 MB", screen(1, 1) + extension + small + b";"
    yield "a hundred thousand extensions", screen(1, 1) + b"!\xf9\4\0\0\0\0\0" * 100_000 + small
    yield "interlaced, one row", screen(8000, 8000) + frame((0, 0, 8000, 1), flags=0x40) + b";"
    yield "no palette", screen(4, 4, 0)[:13] + small + b";"


def _bmps() -> Iterator[tuple[str, bytes]]:
    def bmp(
        width: int,
        height: int,
        bits: int = 24,
        compression: int = 0,
        colours: int = 0,
        offset: int = 54,
        head: int = 40,
        data: bytes = bytes(64),
    ) -> bytes:
        size = 54 + len(data)
        info = struct.pack(
            "<IiiHHIIiiII", head, width, height, 1, bits, compression, 0, 0, 0, colours, 0
        )
        return b"BM" + struct.pack("<IHHI", size, 0, 0, offset) + info + data

    for size in (
        (LARGEST_SIDE, LARGEST_SIDE),
        (-1, -1),
        (-LARGEST_SIDE - 1, 1),
        (1, -LARGEST_SIDE - 1),
    ):
        yield f"{size} pixels", bmp(*size)
    yield "no pixels", bmp(0, 0)
    yield "8000 × 8000 pixels of which there are none", bmp(8000, 8000)
    for bits in (0, 2, 3, 15, 33, 64, 65_535):
        yield f"{bits} bits", bmp(4, 4, bits)
    for compression in (1, 2, 3, 4, 5, 6, 2**32 - 1):
        yield f"compression {compression}", bmp(4, 4, 8, compression)
    yield (
        "runs that cover 64 megapixels",
        bmp(8000, 8000, 8, 1, data=bytes(1024) + b"\xff\1" * 260_000),
    )
    yield "steps beyond the end", bmp(100, 100, 8, 1, data=bytes(1024) + b"\0\2\xff\xff" * 10_000)
    yield "2³² colours", bmp(4, 4, 8, colours=2**32 - 1)
    for offset in (0, 1, 2**31, 2**32 - 1):
        yield f"pixels at {offset}", bmp(4, 4, offset=offset)
    for head in (0, 12, 64, 108, 124, 2**32 - 1):
        yield f"a header of {head} bytes", bmp(4, 4, head=head)


def _tiffs() -> Iterator[tuple[str, bytes]]:
    def tiff(
        changed: dict[int, tuple[int, int, int]], behind: bytes = bytes(64), next_at: int = 0
    ) -> bytes:
        tags = {
            256: (4, 1, 4), 257: (4, 1, 4), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
            273: (4, 1, 400), 277: (3, 1, 1), 278: (4, 1, 4), 279: (4, 1, 16), **changed,
        }  # fmt: skip
        entries = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(tags.items()))
        head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", next_at)
        return head.ljust(400, b"\0") + behind

    yield "a directory that is its own next", tiff({}, next_at=8)
    yield "a directory beyond the end", b"II*\0\xff\xff\xff\xff"
    yield "the start alone", b"MM\0*"
    yield "65,535 tags", b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 256, 4, 1, 4) * 65_535
    for side in (0, 2**31 - 1, 2**32 - 1):
        yield f"a side of {side}", tiff({256: (4, 1, side), 257: (4, 1, side)})
    yield "8000 × 8000 pixels of which there are none", tiff({256: (4, 1, 8000), 257: (4, 1, 8000)})
    for compression in (
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        32_773,
        32_946,
        34_712,
        34_925,
        50_000,
        50_001,
        65_535,
    ):
        yield f"compression {compression}", tiff({259: (3, 1, compression)})
    for bits in (0, 1, 7, 12, 16, 32, 64, 65_535):
        yield f"{bits} bits", tiff({258: (3, 1, bits)})
    for samples in (0, 2, 5, 255, 65_535):
        yield f"{samples} samples", tiff({277: (3, 1, samples)})
    for meaning in (0, 2, 3, 5, 6, 8, 9, 65_535):
        yield f"colours of kind {meaning}", tiff({262: (3, 1, meaning)})
    yield "pixels beyond the end", tiff({273: (4, 1, 2**32 - 1)})
    for bits in (8, 12, 16):
        deep = {258: (3, 1, bits), 262: (3, 1, 5), 277: (3, 1, 5), 338: (3, 1, 1)}
        yield f"CMYK and alpha, each of {bits} bits", tiff(deep)
        yield f"planes of {bits} bits", tiff({**deep, 284: (3, 1, 2)})
        for predictor in (2, 3, 9):
            yield f"predictor {predictor} of {bits} bits", tiff({**deep, 317: (3, 1, predictor)})
        wide = {322: (4, 1, 2**31), 323: (4, 1, 16), 324: (4, 1, 400), 325: (4, 1, 64)}
        yield f"a tile of 2³¹ pixels of {bits} bits", tiff({**deep, **wide})
        large = {256: (4, 1, 8000), 257: (4, 1, 8000), 278: (4, 1, 8000), 279: (4, 1, 2**31)}
        yield f"64 megapixels of {bits} bits of which there are none", tiff({**deep, **large})
    yield "2³² bytes of pixels", tiff({279: (4, 1, 2**32 - 1)})
    yield "2³² strips", tiff({273: (4, 2**32 - 1, 8), 279: (4, 2**32 - 1, 8)})
    yield (
        "a row a strip",
        tiff({257: (4, 1, 60_000), 278: (4, 1, 1), 273: (4, 60_000, 8), 279: (4, 60_000, 8)}),
    )
    yield (
        "tiles of one pixel",
        tiff({322: (4, 1, 1), 323: (4, 1, 1), 324: (4, 1, 400), 325: (4, 1, 1)}),
    )
    yield (
        "tiles of no pixels",
        tiff({322: (4, 1, 0), 323: (4, 1, 0), 324: (4, 1, 400), 325: (4, 1, 1)}),
    )
    for tag in (274, 284, 317, 320, 330, 338, 347, 530, 700, 33_723, 34_665, 34_675, 34_853):
        yield f"tag {tag} within itself", tiff({tag: (4, 1, 8)})
        yield f"tag {tag} of another type, 2³² times", tiff({tag: (7, 2**32 - 1, 8)})
    large = {256: (4, 1, 8000), 257: (4, 1, 8000), 278: (4, 1, 8000), 259: (3, 1, 8)}
    packed = zlib.compress(bytes(64_000_000))
    yield "64 megapixels in 64 kB", tiff({**large, 279: (4, 1, len(packed))}, packed)
    bomb = zlib.compress(bytes(2**26))
    yield "far more pixels than it says", tiff({259: (3, 1, 8), 279: (4, 1, len(bomb))}, bomb)
    yield "BigTIFF of nothing", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + bytes(100)
    yield "BigTIFF of 2⁶⁴ tags", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 100


def _others() -> Iterator[tuple[str, bytes]]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(2**24))
    plain = sane()
    entities = b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10))
    yield from (
        ("nothing", b""),
        ("one byte", b"\x89"),
        ("text", b"not a picture"),
        ("zeros", bytes(10**6)),
        ("HTML", b"<!doctype html><script>alert(1)</script>"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        ("SVG with entities", b"<?xml?><!DOCTYPE svg [" + entities + b"]><svg>&a9;</svg>"),
        ("SVG of a file", b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>'),
        ("ZIP", packed.getvalue()),
        ("PDF", b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(a)>>>>endobj"),
        ("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file"),
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)),
        ("AVIF", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(100)),
        ("JPEG XL", b"\xff\x0a" + bytes(100)),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100)),
        ("PSD", b"8BPS\0\1" + bytes(100)),
        ("ICO of a PNG", b"\0\0\1\0\1\0\0\0\0\0\1\0\x20\0\xff\0\0\0\x16\0\0\0" + plain["PNG"]),
        ("TGA", b"\0\0\2" + bytes(9) + b"\xff\xff\xff\xff\x18\0"),
        ("PPM", b"P6\n60000 60000\n255\n"),
        ("FITS", b"SIMPLE  =                    T" + b" " * 50 + b"NAXIS   = 99999"),
        ("a playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("MVG", b"push graphic-context\nfill 'url(https://127.0.0.1/\"|id\")'\n"),
        ("a script in a GIF", b"GIF89a/*" + bytes(99) + b"*/=1;alert(1)"),
        ("a PNG with a ZIP behind it", plain["PNG"] + packed.getvalue()),
        ("a JPEG with PHP behind it", plain["JPEG"] + b"<?php system('id'); ?>"),
        ("a PNG that begins as a JPEG", b"\xff\xd8\xff" + plain["PNG"]),
        ("a JPEG with a PNG's signature", PNG + plain["JPEG"]),
        ("a GIF with a WebP's", b"RIFF\x40\0\0\0WEBP" + plain["GIF"]),
        ("a BMP that is a PNG", b"BM" + plain["PNG"]),
    )  # fmt: skip


KINDS: dict[str, Callable[[], Iterator[tuple[str, bytes]]]] = {
    "PNG": _pngs,
    "JPEG": _jpegs,
    "WebP": _webps,
    "GIF": _gifs,
    "BMP": _bmps,
    "TIFF": _tiffs,
    "other": _others,
}
