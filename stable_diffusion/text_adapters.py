"""What changes the text encoder for one call: low-rank terms of LoRAs, vectors of embeddings.

Nothing of the model is changed: hooks add to what its layers give, and are gone after the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from stable_diffusion.lora_files import Lora, LoraLayer

if TYPE_CHECKING:
    import torch


@contextmanager
def with_loras(text_encoder: Any, loras: Sequence[tuple[Lora, float]]) -> Iterator[None]:
    """Have LoRAs add their terms to a text encoder's linear layers meanwhile.

    A layer that the encoder lacks, as one whose last layers are left out does, is passed over.

    Args:
        loras: each with its weight.
    """
    hooks = []
    try:
        for path, module in text_encoder.named_modules() if loras else ():
            terms = [
                (lora.text_encoder[path], weight)
                for lora, weight in loras
                if path in lora.text_encoder
            ]
            if terms:
                hooks.append(module.register_forward_hook(_adding(terms, text_encoder.device)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def with_vectors(text_encoder: Any, vectors: torch.Tensor, first: int) -> Iterator[None]:
    """Have tokens beyond those of the text encoder stand for vectors meanwhile.

    Args:
        vectors: (count, width).
        first: the token that stands for the first of them; those that follow stand for the others.
    """
    table = text_encoder.get_input_embeddings()
    vectors = vectors.to(table.weight.device, table.weight.dtype)
    tokens: torch.Tensor

    def without(_module: Any, arguments: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        nonlocal tokens
        (tokens,) = arguments
        return (tokens.where(tokens < first, 0),)

    def replace(_module: Any, _arguments: Any, given: torch.Tensor) -> torch.Tensor:
        is_vector = tokens >= first
        changed = given.clone()
        changed[is_vector] = vectors[tokens[is_vector] - first]
        return changed

    hooks = [table.register_forward_pre_hook(without), table.register_forward_hook(replace)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _adding(
    terms: Sequence[tuple[LoraLayer, float]], device: torch.device
) -> Callable[[Any, tuple[torch.Tensor], torch.Tensor], torch.Tensor]:
    """Return a hook that adds low-rank terms to what a linear layer gives, in full precision."""
    from torch.nn import functional

    @cache
    def placed() -> list[tuple[torch.Tensor, torch.Tensor, float]]:
        """Return the terms on the device, where anything is encoded at all."""
        return [
            (layer.down.to(device).float(), layer.up.to(device).float(), layer.scale * weight)
            for layer, weight in terms
        ]

    def add(_module: Any, arguments: tuple[torch.Tensor], given: torch.Tensor) -> torch.Tensor:
        seen = arguments[0].float()
        changed = given.float()
        for down, up, scale in placed():
            changed = changed + functional.linear(functional.linear(seen, down), up) * scale
        return changed.to(given.dtype)

    return add
