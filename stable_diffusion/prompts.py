"""Text becomes embeddings: plain, weighted by compel's syntax, longer than the encoder; cached."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from stable_diffusion.request import InputError, quote

if TYPE_CHECKING:
    import torch

MOST_PASSES = 512
"""Runs of the text encoder for one text: 38,000 tokens, fewer with lowered weights among them."""
LONGEST_WEIGHTED = 3_000
"""Characters of a text with weights: compel's parser takes a second for some of that length, and
for a longer one the square of it, in which all others wait."""
SYNTAX = re.compile(r"""[()"]|[+-](?=[\s()",.+=-]|$)""")
"""What makes compel see more than words in a text."""
CACHED = 32
"""Embeddings that are kept, the empty negative prompt's above all."""


@dataclass(frozen=True)
class Embeddings:
    """What the UNet reads of the prompts.

    positive: (1, tokens, features) in the model's precision; tokens is a multiple of 77.
    negative: the same shape, or None where guidance is off and nobody reads it.
    cut: for each plain prompt that was too long, its name and the part that had no place.
    """

    positive: torch.Tensor
    negative: torch.Tensor | None
    cut: dict[str, str]


class Prompts:
    """Encodes texts with one model's tokenizer and text encoder.

    Args:
        pipeline: any of diffusers' Stable Diffusion pipelines.
    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self._cache: OrderedDict[tuple[str, bool], torch.Tensor] = OrderedDict()

    def encode(
        self, prompt: str, negative_prompt: str | None, use_compel: bool = False
    ) -> Embeddings:
        """Embeddings of a prompt and, unless it is None, a negative prompt, at one length.

        Raises:
            InputError: where compel can't make embeddings of a text.
        """
        texts = {"prompt": prompt}
        if negative_prompt is not None:
            texts["negative_prompt"] = negative_prompt
        encoded: list[torch.Tensor] = [
            self._encode(name, text, use_compel) for name, text in texts.items()
        ]
        cut: dict[str, str] = {}
        if use_compel:
            encoded = self._compel.pad_conditioning_tensors_to_same_length(encoded)
        else:
            parts = {name: self._cut(text) for name, text in texts.items()}
            cut = {name: part for name, part in parts.items() if part}
        return Embeddings(encoded[0], encoded[1] if len(encoded) == 2 else None, cut)

    def _encode(self, name: str, text: str, use_compel: bool) -> torch.Tensor:
        key = (text, use_compel)
        if key not in self._cache:
            self._cache[key] = (
                self._weighted(name, text)
                if use_compel
                else self.pipeline.encode_prompt(text, self.pipeline.device, 1, False)[0]
            )
            if len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _cut(self, text: str) -> str:
        """The end of a plain text that the encoder has no place for."""
        tokenizer = self.pipeline.tokenizer
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        longest = tokenizer.model_max_length
        # The last place within the length belongs to the mark of the end.
        return text[offsets[longest - 1][0] :] if len(offsets) > longest else ""

    @cached_property
    def _compel(self) -> Any:
        return _compel_library().Compel(
            tokenizer=self.pipeline.tokenizer,
            text_encoder=self.pipeline.text_encoder,
            truncate_long_prompts=False,
        )

    def _weighted(self, name: str, text: str) -> torch.Tensor:
        import torch

        conjunction = parse(name, text)
        if self._passes(conjunction) > MOST_PASSES:
            raise InputError(f"{name}: too long or too many lowered weights; make it shorter")
        embeddings: torch.Tensor
        try:
            embeddings, _ = self._compel.build_conditioning_tensor_for_conjunction(conjunction)
        except (IndexError, TypeError):  # of weights on nothing, such as () or "".5
            raise InputError(f"{name}: compel can't make anything of {quote(text)}") from None
        if not torch.isfinite(embeddings).all():
            raise InputError(f"{name}: its weights are too large, or a blend's add up to nothing")
        return embeddings

    def _passes(self, conjunction: Any) -> int:
        """How often compel will run the text encoder: each lowered weight costs the whole again."""
        passes = 0
        for flat in _flat_prompts(conjunction):
            fragments = [fragment.text for fragment in flat.children]
            tokens = sum(map(len, self.pipeline.tokenizer(fragments or [""])["input_ids"]))
            chunks = tokens // (self.pipeline.tokenizer.model_max_length - 2) + 1
            passes += chunks * (1 + sum(fragment.weight < 1 for fragment in flat.children))
        return passes


@lru_cache(maxsize=CACHED)
def parse(name: str, text: str) -> Any:
    """The `compel.prompt_parser.Conjunction` that a text in compel's syntax stands for.

    Raises:
        InputError: where compel refuses the syntax, or would pass over a part of it in silence.
    """
    grammar = _compel_library().prompt_parser
    if not SYNTAX.search(text):
        # It is one fragment, as compel would find out word by word.
        fragment = re.sub(r",(\S)", r", \1", text)
        return grammar.Conjunction([grammar.FlattenedPrompt([(fragment, 1.0)])])
    if len(text) > LONGEST_WEIGHTED:
        raise InputError(
            f"{name}: {len(text)} characters are too many for a text with weights; "
            f"give at most {LONGEST_WEIGHTED}"
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
        raise InputError(
            f"{name}: {quote('withLora(…)')} is not supported: this model has no LoRAs"
        )
    if any(flat.wants_cross_attention_control for flat in _flat_prompts(conjunction)):
        raise InputError(f"{name}: {quote('.swap(…)')} is not supported; write what to show")
    return conjunction


def _flat_prompts(conjunction: Any) -> list[Any]:
    """The texts of fragments and weights that a conjunction is made of, those of blends too."""
    return [flat for part in conjunction.prompts for flat in getattr(part, "prompts", [part])]


def _reason(error: Exception) -> str:
    if "mismatched" in str(error):
        return "it must have as many weights as there are prompts before it"
    return str(error)


@cache
def _compel_library() -> Any:
    """compel, imported when first asked for (it takes seconds), with a parser that ends.

    Without pyparsing's packrat cache its grammar takes time exponential in open parentheses.
    """
    import pyparsing

    pyparsing.ParserElement.enable_packrat(cache_size_limit=None)
    import compel

    return compel
