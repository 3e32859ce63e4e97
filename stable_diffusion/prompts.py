"""The encoding of prompts: plain, weighted by compel's syntax, longer than the encoder; cached.

Embeddings in them and LoRAs change an encoding, and nothing else.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_diffusion import text_adapters
from stable_diffusion.cache import cache_folder, write_whole
from stable_diffusion.json_files import FileError
from stable_diffusion.lora_files import Lora
from stable_diffusion.request import InputError, quote
from stable_diffusion.textual_inversion import FIRST_PLACEHOLDER, PLACEHOLDER, Found, Inversions

if TYPE_CHECKING:
    import torch

MOST_PASSES = 512
"""Runs of the text encoder for one text: 38,000 tokens, or fewer with lowered weights."""
LONGEST_WEIGHTED_CHARACTERS = 3_000
"""Characters of a text with weights.

compel's parser takes a second for some texts of that length, and its time grows with the square
of the length; all other requests wait meanwhile.
"""
CALL = re.compile(r"(?:\.(?=\w+\()|(?<=\))\s*\.\s*(?=\w+\s*\())(blend|and|swap|add)", re.IGNORECASE)
"""compel's calls, which stand at the end of prompts in parentheses."""
FOREIGN_WEIGHT = re.compile(
    r"(?<![\d\\]):\s*(?P<weight>[+-]?(?:\d{1,3}(?:\.\d{0,4})?|\.\d{1,4}))\s*(?=[),])"
)
"""The end of a weight as AUTOMATIC1111 writes it. `3:4` is a ratio, `\\:` the colon itself."""
FOREIGN_LORA = re.compile(
    r"<lora:(?P<name>[^<>:]{1,100})(?::(?P<weight>[+-]?[\d.]{1,10})[^<>]{0,30})?>"
)
"""A LoRA as AUTOMATIC1111 asks for it."""
SYNTAX = re.compile(r"""[()"]|[+-](?=[\s()",.+=-]|$)""")
"""The syntax that makes compel see more than words in a text."""
CACHED_TEXTS = 32
"""Embeddings that are kept, above all that of the empty negative prompt."""


@dataclass(frozen=True)
class Embeddings:
    """The prompts as the UNet reads them.

    positive: (1, tokens, features) in the model's precision; tokens is a multiple of 77.
    negative: the same shape, or None where guidance is off and nobody reads it.
    cut: for each plain prompt that was too long, its name and the part that had no place.
    """

    positive: torch.Tensor
    negative: torch.Tensor | None
    cut: dict[str, str]


class Prompts:
    """The encoder of prompts, with one model's tokenizer and text encoder.

    Args:
        pipeline: any of diffusers' Stable Diffusion pipelines.
        inversions: the embeddings whose tokens are looked for in texts.
    """

    def __init__(self, pipeline: Any, inversions: Inversions | None = None) -> None:
        self.pipeline = pipeline
        self._inversions = inversions
        self._cache: OrderedDict[tuple[Any, ...], torch.Tensor] = OrderedDict()
        self._shorter: dict[int, Prompts] = {}

    def encode(
        self,
        prompt: str,
        negative_prompt: str | None,
        use_compel: bool = False,
        clip_skip: int = 0,
        loras: Sequence[tuple[Lora, float]] = (),
    ) -> Embeddings:
        """Encode a prompt and, unless it is None, a negative prompt, as embeddings of one length.

        Args:
            clip_skip: how many of the text encoder's last layers are left out.
            loras: what is added to the text encoder's layers, each with its weight.

        Raises:
            InputError: where compel can't make embeddings of a text, where a textual inversion
                can't be read, or where the text encoder has too few layers.
        """
        if clip_skip > 0:
            shorter = self._without_last_layers(clip_skip)
            return shorter.encode(prompt, negative_prompt, use_compel, loras=loras)
        texts = {"prompt": prompt}
        if negative_prompt is not None:
            texts["negative_prompt"] = negative_prompt
        longest: int = self.pipeline.tokenizer.model_max_length
        found = self._find(texts, MOST_PASSES * longest if use_compel else longest)
        loras = [(lora, weight) for lora, weight in loras if lora.text_encoder and weight]
        with text_adapters.with_loras(self.pipeline.text_encoder, loras):
            adapted = _Encoder(self.pipeline) if loras else self._plain
            encoded: list[torch.Tensor] = [
                self._encode(name, text, use_compel, loras) for name, text in found.items()
            ]
            if use_compel:
                encoded = adapted.compel.pad_conditioning_tensors_to_same_length(encoded)
        cut: dict[str, str] = {}
        if not use_compel:
            parts = {name: self._cut(text) for name, text in found.items()}
            cut = {name: part for name, part in parts.items() if part}
        return Embeddings(encoded[0], encoded[1] if len(encoded) == 2 else None, cut)

    @property
    def token_limit(self) -> int:
        """The tokens that are read of a plain text, without those of its beginning and end."""
        tokenizer = self.pipeline.tokenizer
        return int(tokenizer.model_max_length - tokenizer.num_special_tokens_to_add())

    def tokenizer_file(self) -> Path | None:
        """Return a file of the cache that has the tokenizer, for the package `tokenizers`.

        Returns:
            None where there is no space for it.
        """
        text = self.pipeline.tokenizer.backend_tokenizer.to_str().encode()
        file = cache_folder("tokenizers") / f"{hashlib.sha256(text).hexdigest()[:32]}.json"
        try:
            if not file.exists():
                write_whole(file, text)
        except OSError:
            return None
        return file

    def _find(self, texts: Mapping[str, str], most: int) -> dict[str, Found]:
        """Look for textual inversions in texts by their names, as far as they may have a place."""
        if not self._inversions:
            return {name: Found(text, text) for name, text in texts.items()}
        finder = self._inversions.finder()
        found = dict[str, Found]()
        for name, text in texts.items():
            try:
                found[name] = finder.find(text, most)
            except FileError as error:
                raise InputError(f"{name}: an embedding can't be used: {error}") from None
        return found

    def _encode(
        self, name: str, text: Found, use_compel: bool, loras: Sequence[tuple[Lora, float]]
    ) -> torch.Tensor:
        combination = tuple((lora.hash, weight) for lora, weight in loras)
        key = (text.text, text.hashes, use_compel, combination)
        if key not in self._cache:
            with self._reading(text) as encoder:
                if loras:
                    # compel keeps the embeddings of an empty text, which LoRAs change too.
                    encoder = _Encoder(encoder.pipeline)
                self._cache[key] = (
                    encoder.weighted(name, text)
                    if use_compel
                    else encoder.pipeline.encode_prompt(text.text, self.pipeline.device, 1, False)[
                        0
                    ]
                )
            if len(self._cache) > CACHED_TEXTS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    @contextmanager
    def _reading(self, text: Found) -> Iterator[_Encoder]:
        """Give an encoder for which the placeholders in a text stand for vectors."""
        if not text.embeddings:
            yield self._plain
            return
        encoder, vectors = self._with_placeholders, text.vectors()
        first = encoder.take_placeholders(len(vectors))
        with text_adapters.with_vectors(self.pipeline.text_encoder, vectors, first):
            yield encoder

    def _cut(self, text: Found) -> str:
        """Return the end of a plain text that doesn't fit into the encoder."""
        encoder = self._with_placeholders if text.embeddings else self._plain
        if text.embeddings:
            encoder.take_placeholders(len(text.vectors()))
        tokenizer = encoder.pipeline.tokenizer
        offsets = tokenizer(text.text, return_offsets_mapping=True)["offset_mapping"]
        longest = tokenizer.model_max_length
        # The last place within the length belongs to the mark of the end.
        return text.rest(offsets[longest - 1][0]) if len(offsets) > longest else ""

    def _without_last_layers(self, count: int) -> Prompts:
        """Return an encoder that shares all weights, and leaves the last layers out.

        It gives what diffusers' `clip_skip` does, the output of the layer before, normalised:
        diffusers looks for `text_model`, which transformers 5 has no more, and compel knows no
        such choice.
        """
        text_encoder = self.pipeline.text_encoder
        layers = len(text_encoder.encoder.layers)
        if count >= layers:
            raise InputError(
                f"clip_skip: {count} is not allowed; give 0 to {layers - 1}: the text encoder of "
                f"this model has {layers} layers"
            )
        if count not in self._shorter:
            tensors = itertools.chain(text_encoder.parameters(), text_encoder.buffers())
            shorter = copy.deepcopy(text_encoder, {id(tensor): tensor for tensor in tensors})
            shorter.encoder.layers = shorter.encoder.layers[:-count]
            pipeline = copy.copy(self.pipeline)
            pipeline.text_encoder = shorter
            self._shorter[count] = Prompts(pipeline, self._inversions)
        return self._shorter[count]

    @cached_property
    def _plain(self) -> _Encoder:
        return _Encoder(self.pipeline)

    @cached_property
    def _with_placeholders(self) -> _Encoder:
        """An encoder with a tokenizer of its own, which takes placeholders for tokens."""
        pipeline = copy.copy(self.pipeline)
        pipeline.tokenizer = copy.deepcopy(self.pipeline.tokenizer)
        return _Encoder(pipeline)


class _Encoder:
    """A tokenizer and a text encoder, and compel with them."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self._placeholders = 0

    @cached_property
    def compel(self) -> Any:
        return _compel_library().Compel(
            tokenizer=self.pipeline.tokenizer,
            text_encoder=self.pipeline.text_encoder,
            truncate_long_prompts=False,
        )

    def take_placeholders(self, count: int) -> int:
        """Make the first so many placeholders tokens; return the token of the first."""
        from tokenizers import AddedToken

        tokenizer = self.pipeline.tokenizer
        if count > self._placeholders:
            tokenizer.add_tokens(
                [
                    AddedToken(chr(FIRST_PLACEHOLDER + number), normalized=False)
                    for number in range(self._placeholders, count)
                ]
            )
            self._placeholders = count
        first: int = tokenizer.convert_tokens_to_ids(chr(FIRST_PLACEHOLDER))
        return first

    def weighted(self, name: str, text: Found) -> torch.Tensor:
        import torch

        try:
            conjunction = parse(name, text.text)
        except InputError as error:
            raise InputError(*map(text.restored, error.faults)) from None
        if self._passes(conjunction) > MOST_PASSES:
            raise InputError(f"{name}: too long or too many lowered weights; make it shorter")
        embeddings: torch.Tensor
        try:
            embeddings, _ = self.compel.build_conditioning_tensor_for_conjunction(conjunction)
        except (IndexError, TypeError):  # of weights on nothing, such as () or "".5
            raise InputError(f"{name}: compel can't interpret {quote(text.given)}") from None
        if not torch.isfinite(embeddings).all():
            raise InputError(f"{name}: its weights are too large, or a blend's add up to zero")
        return embeddings

    def _passes(self, conjunction: Any) -> int:
        """Return how often compel runs the text encoder: each lowered weight repeats all runs."""
        passes = 0
        for flat in _flat_prompts(conjunction):
            fragments = [fragment.text for fragment in flat.children]
            tokens = sum(map(len, self.pipeline.tokenizer(fragments or [""])["input_ids"]))
            chunks = tokens // (self.pipeline.tokenizer.model_max_length - 2) + 1
            passes += chunks * (1 + sum(fragment.weight < 1 for fragment in flat.children))
        return passes


@lru_cache(maxsize=CACHED_TEXTS)
def parse(name: str, text: str) -> Any:
    """Parse a text in compel's syntax; return a `compel.prompt_parser.Conjunction`.

    Raises:
        InputError: where compel refuses the syntax, or would pass over a part of it in silence.
    """
    grammar = _compel_library().prompt_parser
    if not SYNTAX.search(text):
        # It is one fragment, as compel would find out word by word.
        fragment = re.sub(r",(\S)", r", \1", text)
        return grammar.Conjunction([grammar.FlattenedPrompt([(fragment, 1.0)])])
    if (length := len(PLACEHOLDER.sub("", text))) > LONGEST_WEIGHTED_CHARACTERS:
        raise InputError(
            f"{name}: {length} characters are too many for a text with weights; "
            f"give at most {LONGEST_WEIGHTED_CHARACTERS}"
        )
    try:
        conjunction = grammar.PromptParser().parse_conjunction(text)
    except RecursionError:
        raise InputError(f"{name}: parentheses are nested too deeply in {quote(text)}") from None
    except grammar.pp.ParseException as error:
        raise InputError(f"{name}: compel can't read {quote(text[error.loc :])}") from None
    except (ValueError, OverflowError, grammar.PromptParser.ParsingException) as error:
        calls = re.findall(r"\.(?:blend|and|add)\([^)]*\)?", text)
        at = " or ".join(map(quote, calls)) or quote(text)
        raise InputError(f"{name}: compel can't read {at}: {_reason(error)}") from None
    if conjunction.lora_weights:
        lora = conjunction.lora_weights[0]
        raise InputError(
            f"{name}: {quote('withLora(…)')} is not supported; "
            f"give loras: {quote(f'{lora.model}:{lora.weight:g}')[1:-1]}"
        )
    if any(flat.wants_cross_attention_control for flat in _flat_prompts(conjunction)):
        raise InputError(f"{name}: {quote('.swap(…)')} is not supported; write what to show")
    call = CALL.search(text)
    fragments = (part for flat in _flat_prompts(conjunction) for part in flat.children)
    as_words = re.compile(rf"\. ?{call[1]}\b", re.IGNORECASE) if call else None
    if call and as_words and any(as_words.search(str(part.text)) for part in fragments):
        raise InputError(
            f"{name}: compel would read {quote(call[0] + '(')} as words where it stands; "
            "it must follow the parentheses of whole prompts"
        )
    return conjunction


def notes_on(name: str, text: str) -> list[str]:
    """Return what compel would pass over in a text: weights as other programs write them."""
    notes = list[str]()
    for found in FOREIGN_WEIGHT.finditer(text):
        start = _open_parenthesis(text, found.start())
        if start is None:
            continue
        words, weight = text[start + 1 : found.start()], found["weight"]
        if ":" in words:  # of a list of weights, the last
            start += 1 + words.rindex(",") if "," in words else 0
            words = text[start + 1 : found.start()]
        words = words.strip()
        advice = f"give ({quote(words)[1:-1]}){weight}"
        if weight.startswith("-"):
            advice = "what is not wanted belongs into negative_prompt"
        written = f"({text[start + 1 : found.end()]})"
        notes.append(f"{name}: compel reads {quote(written)} as words; {advice}")
    for found in FOREIGN_LORA.finditer(text):
        lora = quote(f"{found['name']}:{found['weight'] or 1}")[1:-1]
        notes.append(f"{name}: {quote(found[0])} is read as words; give loras: {lora}")
    return notes[:3]


def _open_parenthesis(text: str, end: int) -> int | None:
    """Return where the parenthesis that is open at `end` begins, at most 200 characters before."""
    depth = 0
    for place in range(end - 1, max(-1, end - 200), -1):
        depth += {")": 1, "(": -1}.get(text[place], 0)
        if depth < 0:
            return place
    return None


def _flat_prompts(conjunction: Any) -> list[Any]:
    """Return the flattened prompts that a conjunction consists of, those of blends included."""
    return [flat for part in conjunction.prompts for flat in getattr(part, "prompts", [part])]


def _reason(error: Exception) -> str:
    if "mismatched" in str(error):
        return "it must have as many weights as there are prompts before it"
    return str(error)


@cache
def _compel_library() -> Any:
    """Import compel on first use (it takes seconds), and turn on its parser's cache.

    Without pyparsing's packrat cache its grammar takes time exponential in open parentheses.
    """
    import pyparsing

    pyparsing.ParserElement.enable_packrat(cache_size_limit=None)
    import compel

    return compel
