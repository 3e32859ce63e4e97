"""DeepInfra's fields for LoRAs.

`lora` is a name, which is read as the input `loras`; `lora_scale` is its weight.
Source: https://deepinfra.com/stabilityai/stable-diffusion-2-1/api and
https://deepinfra.com/docs/advanced/lora_text_to_image.
"""

from __future__ import annotations

from typing import Any

from hosting.queue.inputs import Fault, quote
from infotext.loras import NUMBER

SCALE = "lora_scale"


def scale(inputs: dict[str, Any]) -> list[Fault]:
    """Give `lora_scale` to the LoRAs that have no weight; return what is wrong with it.

    Args:
        inputs: as they were sent; changed.
    """
    given = inputs.pop(SCALE, None)
    if given is None or given == "":
        return []
    is_number = isinstance(given, int | float | str) and not isinstance(given, bool)
    text = (f"{given:.6f}" if isinstance(given, float) else str(given)[:100]) if is_number else ""
    if not NUMBER.fullmatch(text.strip()):
        sentence = f"{quote(given)} is not allowed; give a number from -2 to 2"
        return [Fault("invalid_type", f"input.{SCALE}", sentence)]
    for name in ("lora", "loras"):
        entries = inputs.get(name)
        if isinstance(entries, str):
            entries = [part for part in entries.split(",") if part.strip()]
        if isinstance(entries, list):
            inputs[name] = [_weighted(one, text.strip()) for one in entries]
    return []


def _weighted(entry: object, weight: str) -> object:
    return f"{entry.strip()}:{weight}" if isinstance(entry, str) and ":" not in entry else entry
