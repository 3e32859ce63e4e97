"""Embeddings (textual inversions): vectors that stand for a token in prompts, from their files.

The files are those of AUTOMATIC1111 and kohya (`emb_params`, or `string_to_param` in a pickle) and
of diffusers (the token itself is the tensor's name). Pickles are read as inert tables of tensors.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_diffusion import json_files, weight_files
from stable_diffusion.installed import Folder, Installed, without_place
from stable_diffusion.json_files import FileError
from stable_diffusion.weight_files import StoredTensor

if TYPE_CHECKING:
    import torch

MOST_VECTORS = 75
"""Of one embedding: what has a place in a prompt."""
MOST_BYTES = 2**24
"""Of a file; 75 vectors have some 300,000 bytes."""
DTYPES = ("float64", "float32", "float16", "bfloat16")
LEAST_TOKEN_CHARACTERS, MOST_TOKEN_CHARACTERS = 3, 100
"""Of the token that a file has itself: shorter ones would be found in too many prompts."""
OF_PROGRAMS = ("emb_params", "*")
"""Names of the tensor in files that don't name their token there."""
XL_NAMES = ("clip_l", "clip_g")
BASES_BY_WIDTH = {
    768: "Stable Diffusion 1",
    1024: "Stable Diffusion 2",
    1280: "Stable Diffusion XL",
    4096: "Stable Diffusion 3 or Flux",
}
"""The models by how many features a token has in their text encoder."""
FIRST_PLACEHOLDER, MOST_PLACEHOLDERS = 0xF0000, 2**16 - 2
"""The characters that stand for vectors while a prompt is read: nobody uses those of Unicode's
fifteenth plane, which are left to private agreement."""
PLACEHOLDER = re.compile(
    f"[{chr(FIRST_PLACEHOLDER)}-{chr(FIRST_PLACEHOLDER + MOST_PLACEHOLDERS - 1)}]"
)
UNREADABLE = "\ufffd"
CACHED_EMBEDDINGS = 256
"""How many embeddings are kept when they were used; the largest have some 300,000 bytes."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """An embedding, read.

    tokens: what stands for it in prompts; the name of its file comes first.
    hash: SHA-256 of its file, lower hex.
    vectors: (vectors, width of the text encoder), float32, on the CPU.
    """

    tokens: tuple[str, ...]
    hash: str
    vectors: torch.Tensor


@dataclass(frozen=True)
class Span:
    """Where a token stood in a text, and where its placeholders stand instead."""

    start: int
    end: int
    placed: int
    placed_end: int


@dataclass(frozen=True)
class Found:
    """A text in which tokens were looked for.

    text: the text, in which a placeholder stands for each vector of each token that was found.
    given: the text as it was.
    embeddings: those that were found, in the order of their placeholders.
    spans: of the tokens, in the order of the text.
    """

    text: str
    given: str
    embeddings: tuple[Embedding, ...] = ()
    spans: tuple[Span, ...] = ()

    @property
    def hashes(self) -> tuple[str, ...]:
        """The hashes of the embeddings, which with `text` say what is encoded."""
        return tuple(embedding.hash for embedding in self.embeddings)

    def vectors(self) -> torch.Tensor:
        """Return the vectors of all embeddings, (vectors, width), as the placeholders count."""
        import torch

        return torch.cat([embedding.vectors for embedding in self.embeddings])

    def rest(self, place: int) -> str:
        """Return what was given from a place in `text` on, with the whole of a token there."""
        before = [span for span in self.spans if span.placed <= place]
        if not before:
            return self.given[place:]
        last = before[-1]
        if place < last.placed_end:
            return self.given[last.start :]
        return self.given[last.end + place - last.placed_end :]

    def restored(self, text: str) -> str:
        """Return a sentence that quotes `text` with the tokens in it again."""
        for span in self.spans:
            text = text.replace(
                self.text[span.placed : span.placed_end], self.given[span.start : span.end]
            )
        return PLACEHOLDER.sub("", text)  # of a token that was cut


class Finder:
    """Finds the tokens of embeddings in texts, as whole words, whatever their case.

    Args:
        installed: those that can be used, in the order of their names. Of two with one token, the
            one whose file has that name is taken, else the first.
        read: reads one that was found.
    """

    def __init__(
        self, installed: Iterable[Installed], read: Callable[[Installed], Embedding]
    ) -> None:
        self._read = read
        self._by_token = dict[str, Installed]()
        for part in (slice(0, 1), slice(1, None)):
            for embedding in installed:
                for token in embedding.tokens[part]:
                    self._by_token.setdefault(token.casefold(), embedding)
        self._tokens = sorted(self._by_token, key=lambda token: (-len(token), token))

    def find(self, text: str, most: int = MOST_PLACEHOLDERS) -> Found:
        """Look for tokens in a text, the longest first.

        Args:
            most: vectors, of all tokens together, after which none is looked for.

        Raises:
            FileError: when one that was found can't be read.
        """
        parts, spans = list[str](), list[Span]()
        embeddings, first = list[Embedding](), dict[str, int]()
        used = placed = end = 0
        folded, total = text.casefold(), 0
        there = [token for token in self._tokens if token in folded]  # mostly none or few
        expression = re.compile("|".join(map(_whole, there)), re.IGNORECASE)
        for match in expression.finditer(text) if there else ():
            installed = self._by_token.get(match[0].casefold())
            if not installed:  # letters that are alike in one way, and not in the other
                continue
            embedding = self._read(installed)
            count = len(embedding.vectors)
            if total > most:
                break
            total += count
            if embedding.hash not in first:
                if used + count > MOST_PLACEHOLDERS:
                    break
                first[embedding.hash] = FIRST_PLACEHOLDER + used
                used += count
                embeddings.append(embedding)
            start = first[embedding.hash]
            parts += [text[end : match.start()], "".join(map(chr, range(start, start + count)))]
            placed += match.start() - end
            spans.append(Span(*match.span(), placed, placed + count))
            placed, end = placed + count, match.end()
        if not spans:
            return Found(text, text)
        parts.append(text[end:])
        # What the text itself has of such characters must not stand for vectors.
        parts[::2] = [PLACEHOLDER.sub(UNREADABLE, part) for part in parts[::2]]
        return Found("".join(parts), text, tuple(embeddings), tuple(spans))


class Inversions:
    """The embeddings that are installed, of which those that are asked for are read.

    Args:
        folder: where they lie, checked by `check`.
        pipeline: any of diffusers' Stable Diffusion pipelines.
    """

    def __init__(self, folder: Folder, pipeline: Any) -> None:
        self.folder = folder
        self._pipeline = pipeline
        self._known: tuple[Installed, ...] = ()
        self._finder = Finder((), self._read)
        self._cache: OrderedDict[tuple[str, str], Embedding] = OrderedDict()

    def finder(self) -> Finder:
        """Return what finds the tokens of those that are there now."""
        usable = tuple(one for one in self.folder.files().values() if one.reason is None)
        if usable != self._known:
            self._known, self._finder = usable, Finder(usable, self._read)
        return self._finder

    def _read(self, installed: Installed) -> Embedding:
        key = installed.name, installed.hash
        if key not in self._cache:
            try:
                self._cache[key] = load(installed.path, self._pipeline, installed.hash)
            except FileError as error:
                raise FileError(without_place(error, installed.path)) from error
            if len(self._cache) > CACHED_EMBEDDINGS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]


def check(path: Path, pipeline: Any) -> tuple[str, ...]:
    """Check by a file's table that it is an embedding for this model; return its tokens.

    Args:
        pipeline: any of diffusers' Stable Diffusion pipelines.

    Raises:
        FileError: when it can't be used; the message says why.
    """
    return _examine(path, pipeline)[0]


def load(path: Path, pipeline: Any, expected_hash: str | None = None) -> Embedding:
    """Read an embedding.

    Args:
        pipeline: any of diffusers' Stable Diffusion pipelines.
        expected_hash: the file's SHA-256 in lower hex, or its beginning, where it must have one.

    Raises:
        FileError: when it can't be used, has numbers that are none, or another hash.
    """
    try:
        tokens, stored = _examine(path, pipeline)
        with path.open("rb") as file:
            digest = weight_files.require_hash(path, file, expected_hash)
            vectors = weight_files.read_tensor(path, file, stored).float()
    except OSError as error:
        raise weight_files.unreadable(path, json_files.error_text(error)) from error
    return Embedding(tokens, digest, vectors.reshape(-1, vectors.shape[-1]))


def _examine(path: Path, pipeline: Any) -> tuple[tuple[str, ...], StoredTensor]:
    """Return a file's tokens, and where its vectors lie."""
    json_files.require_regular(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise FileError(f"{path} has {size} bytes; an embedding has at most {MOST_BYTES}")
    table = weight_files.read_table(path)
    if any(name in table for name in XL_NAMES):
        raise FileError(
            f"{path} is for another base model: it has {' and '.join(sorted(table))[:100]}, as "
            "embeddings for Stable Diffusion XL have"
        )
    if len(table) != 1:
        what = "no embedding" if not table else f"{len(table)} tensors, where an embedding has one"
        raise FileError(f"{path} has {what}: get the embedding as .safetensors")
    ((name, stored),) = table.items()
    _require_fitting(path, stored, pipeline.text_encoder.config.hidden_size)
    own = weight_files.read_texts(path).get("name", "") if name in OF_PROGRAMS else name
    tokens = dict.fromkeys((path.stem, *([own] if _is_token(own) else [])))
    return tuple(tokens), stored


def _require_fitting(path: Path, stored: StoredTensor, width: int) -> None:
    if stored.dtype not in DTYPES:
        raise FileError(
            f"{path} has numbers of type {stored.dtype}; give it as one of " + ", ".join(DTYPES)
        )
    if len(stored.shape) not in (1, 2):
        raise FileError(f"{path} has no vectors, but a tensor of {len(stored.shape)} dimensions")
    if stored.shape[-1] != width:
        base = BASES_BY_WIDTH.get(stored.shape[-1], "something else")
        raise FileError(
            f"{path} is for another base model: {base}, whose tokens have {stored.shape[-1]} "
            f"features, where those of this model have {width}"
        )
    vectors = stored.shape[0] if len(stored.shape) == 2 else 1
    if not 0 < vectors <= MOST_VECTORS:
        raise FileError(f"{path} has {vectors} vectors; an embedding has 1 to {MOST_VECTORS}")


def _is_token(text: str) -> bool:
    fits = LEAST_TOKEN_CHARACTERS <= len(text) <= MOST_TOKEN_CHARACTERS
    return (
        fits and text.isprintable() and text == text.strip() and re.search(r"\w", text) is not None
    )


def _whole(token: str) -> str:
    """Return an expression of a token as a whole word, where it begins and ends as words do."""
    before = r"(?<!\w)" if re.match(r"\w", token) else ""
    after = r"(?!\w)" if re.search(r"\w$", token) else ""
    return before + re.escape(token) + after
