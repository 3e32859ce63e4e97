"""CLIP's tokenizer, cut to what captions need; any other text falls back to shorter byte pairs."""

import gzip
import itertools
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from train_demo.captions import COLOURS, MORE_COLOURS, NUMBERS, noun, plain, plural
from train_demo.pictograms import wanted
from train_demo.progress import TrainingError
from train_demo.settings import MERGES_PACKAGE, NAMES_PACKAGE, SOURCES

CLIP_MERGES = 49152 - 256 - 2  # of the original vocabulary
FIRST_MERGES = 6000  # kept whether or not a caption needs them: the commonest pieces of English
PHRASES = """a an the of on in and with picture icon emoji background style photo painting drawing
    render realistic cute small big dark light bright at night day beautiful fantasy landscape"""


def make(modules: Path) -> CLIPTokenizer:
    """Make the tokenizer for captions of all names in `modules` (node_modules), trained on or not.

    Raises:
        TrainingError: pip can't fetch CLIP's merges.
    """
    merges = clip_merges()
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    needed = set(range(FIRST_MERGES))
    for word in words(modules):
        needed.update(merges_of(word, ranks))
    needed_merges = [merges[rank] for rank in sorted(needed)]
    letters = list(bytes_to_unicode().values())
    pieces = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *("".join(m) for m in needed_merges),
    ]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocabulary, merges=needed_merges, model_max_length=77)


def tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> np.ndarray:
    """Return the tokens of texts, (texts, 77) int32."""
    encoded = tokenizer(
        texts, padding="max_length", max_length=77, truncation=True, return_tensors="np"
    )
    return np.asarray(encoded.input_ids, np.int32)


def words(modules: Path) -> set[str]:
    """Return every word that a caption can have."""
    emoji = json.loads((modules / NAMES_PACKAGE[0] / "en" / "data.json").read_text())
    texts = [PHRASES, *COLOURS, *MORE_COLOURS, *NUMBERS.values()]
    texts += [phrase for source in SOURCES for phrase in source.style]
    for entry in emoji:
        if wanted(entry, ()):
            name = plain(entry["label"])
            texts += [name, plural(name), plural(noun(name)), *entry.get("tags", ())]
    return {word for text in texts for word in plain(text).replace("-", " ").split()}


def merges_of(word: str, ranks: dict[tuple[str, str], int]) -> Iterable[int]:
    """Yield the ranks of the merges by which byte pair encoding puts `word` together."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    while len(pieces) > 1:
        pair = min(itertools.pairwise(pieces), key=lambda p: ranks.get(p, len(ranks)))
        if pair not in ranks:
            return
        yield ranks[pair]
        merged: list[str] = []
        for piece in pieces:
            # Left to right: a piece merges with the one before it, unless that has just merged.
            if merged and (merged[-1], piece) == pair:
                merged[-1] += piece
            else:
                merged.append(piece)
        pieces = merged


def clip_merges() -> list[tuple[str, str]]:
    """Fetch CLIP's merges, in their order, from a package that contains them."""
    package, version = MERGES_PACKAGE
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check"]
        wanted = ["--no-deps", "--dest", folder, f"{package}=={version}"]
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
        if done.returncode:
            raise TrainingError(f"pip could not fetch {package}: {done.stderr.strip()}")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            packed = archive.read("open_clip/bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(packed).decode().split("\n")[1 : CLIP_MERGES + 1]
    return [(first, second) for first, second in (line.split() for line in lines)]
