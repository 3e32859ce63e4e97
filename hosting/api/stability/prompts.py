"""Several prompts with weights, as one prompt in compel's syntax."""

from __future__ import annotations

import re
from collections.abc import Sequence

SIGNS = re.compile(r"([^\s+-])(?=[+-])|([+-])(?=[^\s+-])")
"""Where plus and minus, which at a word's end are weights, touch its other characters."""


def joined(prompts: Sequence[tuple[str, float]], use_compel: bool) -> str:
    """Return prompts as one.

    Args:
        prompts: texts and their weights, above 0.
        use_compel: whether the result is in compel's syntax, as it must be for more than one: a
            blend of them all.
    """
    if not use_compel:
        return "".join(text for text, _ in prompts)
    if not prompts:
        return ""
    texts = ", ".join(f'"{_escaped(text)}"' for text, _ in prompts)
    total = sum(weight for _, weight in prompts)  # so that none but the small become 0
    weights = ", ".join(f"{weight / total:.4f}" for _, weight in prompts)
    return f"({texts}).blend({weights})"


def _escaped(text: str) -> str:
    r"""Return a text of which compel reads every character as a word's.

    A space before and after other than letters changes nothing that the encoder reads. `\(`, `\)`
    and `\"` are compel's escapes.
    """
    text = SIGNS.sub(r"\1\2 ", text).replace("\\", "\\ ")
    return re.sub(r'([()"])', r"\\\1", text)
