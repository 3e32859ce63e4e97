"""The pictures to learn from: fetched as npm packages, rendered, and packed into one file."""

import io
import json
import re
import shutil
import subprocess
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image

from train_demo.progress import TrainingError
from train_demo.settings import NAMES_PACKAGE, SOURCES

SIZE_PIXELS = 256  # of every picture
STYLES = {source.package: source.style for source in SOURCES}
SKIN_TONES = re.compile(r"1f3f[b-f]")
COMPONENTS, FLAGS, SYMBOLS, PEOPLE = 2, 9, 8, 1  # groups of emojibase


@dataclass(frozen=True)
class Pictogram:
    """One picture: its CLDR name and keywords, and the package that it comes from."""

    name: str
    keywords: tuple[str, ...]
    package: str
    file: str  # in the packed file

    @property
    def style(self) -> tuple[str, ...]:
        """The words that ask for its style."""
        return STYLES[self.package]

    @property
    def is_learned(self) -> bool:
        """Whether it is trained on; pictures without words for their style stay unseen."""
        return bool(self.style)

    def read(self, packed: zipfile.ZipFile) -> np.ndarray:
        """Read the picture as (SIZE_PIXELS, SIZE_PIXELS, 4) red, green, blue, opacity, uint8."""
        with Image.open(io.BytesIO(packed.read(self.file))) as image:
            return np.asarray(image.convert("RGBA"))


def pictograms(path: Path) -> list[Pictogram]:
    """Return the pictograms in the packed file at `path`."""
    with zipfile.ZipFile(path) as packed:
        return [
            Pictogram(each["name"], tuple(each["keywords"]), each["package"], each["file"])
            for each in json.loads(packed.read("index.json"))
        ]


def read(which: list[Pictogram], pictures: Path) -> np.ndarray:
    """Read pictures as (pictures, 256, 256, 4) red, green, blue, opacity, uint8."""
    with zipfile.ZipFile(pictures) as packed:
        return np.stack([each.read(packed) for each in which])


def resized(rgb: np.ndarray, size: int) -> np.ndarray:
    """Return `rgb`, (height, width, 3) uint8, at `size` × `size` pixels."""
    if len(rgb) == size:
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((size, size), Image.Resampling.LANCZOS))


def pack(path: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Render the pictures of `names`, () for all, from the packages in `folder`, into `path`."""
    pictures, sources = zip(*collect(folder / "node_modules", names), strict=True)
    with zipfile.ZipFile(path, "w") as packed, Pool() as pool:
        for picture, webp in zip(pictures, pool.imap(render, sources, 16), strict=True):
            packed.writestr(picture.file, webp)
        packed.writestr("index.json", json.dumps([asdict(picture) for picture in pictures]))


def fetch(folder: Path) -> None:
    """Install the packages of SOURCES and the names into `folder`/node_modules by npm.

    Raises:
        TrainingError: npm is missing or fails; the message says what to do.
    """
    wanted = [(source.package, source.version) for source in SOURCES] + [NAMES_PACKAGE]
    npm = shutil.which("npm")
    if npm is None:
        raise TrainingError("npm is needed to fetch the pictures: install Node.js 18 or later")
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--prefix", str(folder), "--no-save", "--no-package-lock", "--ignore-scripts"]
    packages = [f"{package}@{version}" for package, version in wanted]
    command = [npm, "install", *options, "--no-audit", "--no-fund", "--loglevel=error", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TrainingError(f"npm could not fetch the pictures: {done.stderr.strip()}")


def collect(modules: Path, names: tuple[str, ...]) -> Iterator[tuple[Pictogram, str]]:
    """Yield each wanted pictogram with its SVG text, or the path of its file."""
    emoji = json.loads((modules / NAMES_PACKAGE[0] / "en" / "data.json").read_text())
    by_code = {code(entry["hexcode"]): entry for entry in emoji if wanted(entry, names)}
    by_slug = {slug(entry["label"]): code(entry["hexcode"]) for entry in emoji}
    for entry in emoji:
        if "-" not in code(entry["hexcode"]):
            unicode_name = unicodedata.name(entry["emoji"][0], "")
            by_slug.setdefault(slug(unicode_name), code(entry["hexcode"]))
    for source in SOURCES:
        # The icons of some packages name their code points; these names serve the other packages.
        for codes, name in characters(modules / source.package).items():
            by_slug.setdefault(slug(name), code(codes))
    for source in SOURCES:
        for codes, drawing in drawings(modules / source.package, by_slug):
            entry = by_code.get(codes)
            if entry is not None:
                file = f"{source.package.rpartition('/')[2]}/{codes}.webp"
                keywords = tuple(entry.get("tags", ()))
                yield Pictogram(entry["label"], keywords, source.package, file), drawing


def code(hexcode: str) -> str:
    """Return code points as all packages share them: lower case, no variation selectors."""
    return "-".join(p for p in hexcode.lower().split("-") if p != "fe0f").lstrip("0")


def slug(name: str) -> str:
    """Return the letters and digits of a name, since each package hyphenates in its own way."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def wanted(emoji: dict, names: tuple[str, ...]) -> bool:  # type: ignore[type-arg]
    """Return whether a name is enough to draw it: no flags, keycaps, clocks, signs, skin tones."""
    label: str = emoji["label"].lower()
    if names:
        return emoji["label"] in names
    group = emoji.get("group")
    if group in (None, COMPONENTS, FLAGS, SYMBOLS) or SKIN_TONES.search(emoji["hexcode"].lower()):
        return False
    if "o’clock" in label or "thirty" in label or "facing right" in label:
        return False
    gendered = re.match(r"(man|woman|men|women)\b.", label)
    groups = re.search(r"couple|family|kiss|holding hands", label)
    return not (group == PEOPLE and (gendered or groups))


def characters(package: Path) -> dict[str, str]:
    """Return the icons' names by code points, where the package gives them."""
    file = package / "chars.json"
    return json.loads(file.read_text()) if file.exists() else {}


def drawings(package: Path, by_slug: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield code points and drawing, SVG text or a file's path, of each picture of a package."""
    assets = package / "assets"
    if assets.is_dir():
        yield from {code(file.stem): str(file) for file in sorted(assets.glob("*.webp"))}.items()
        return
    icons = json.loads((package / "icons.json").read_text())
    named = characters(package)
    if not named:
        named = {by_slug[slug(name)]: name for name in icons["icons"] if slug(name) in by_slug}
    seen = set()
    for codes, name in named.items():
        alias = icons.get("aliases", {}).get(name, {})
        if len(alias) == 1:
            name = alias["parent"]
        icon = icons["icons"].get(name)
        if icon is None or code(codes) in seen:
            continue
        seen.add(code(codes))
        left, top = icon.get("left", 0), icon.get("top", 0)
        width = icon.get("width", icons.get("width", 16))
        height = icon.get("height", icons.get("height", 16))
        yield (
            code(codes),
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>',
        )


def render(drawing: str) -> bytes:
    """Return `drawing`, SVG text or a picture's path, as a square WebP of SIZE_PIXELS a side."""
    import resvg_py

    if drawing.startswith("<svg"):
        png = resvg_py.svg_to_bytes(svg_string=drawing, width=SIZE_PIXELS, height=SIZE_PIXELS)
        image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    else:
        image = Image.open(drawing).convert("RGBA")
    if image.size != (SIZE_PIXELS, SIZE_PIXELS):
        image = image.resize((SIZE_PIXELS, SIZE_PIXELS), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    image.save(packed, "WEBP", quality=92, method=4)
    return packed.getvalue()
