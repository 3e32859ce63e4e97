"""DeepInfra's fields for LoRAs.

`lora` is a name, which is read as the input `loras`; `lora_scale` is its weight.
Source: https://deepinfra.com/stabilityai/stable-diffusion-2-1/api and
https://deepinfra.com/docs/advanced/lora_text_to_image.
"""

from __future__ import annotations

from typing import Any

from hosting.queue.inputs import Fault, quote
from infotext.loras import NUMBER, number

SCALE = "lora_scale"


def scale(inputs: dict[str, Any]) -> list[Fault]:
    """Give `lora_scale` to the LoRAs that have no weight; return what is wrong with it.

    Args:
        inputs: as they were sent; changed.
    """
    given = inputs.pop(SCALE, None)
    if given is None or given == "":
        return []
    text = given.strip() if isinstance(given, str) else ""
    if isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < 1000:
        text = number(given)
    if not NUMBER.fullmatch(text):
        sentence = f"{quote(given)} is not allowed; give a number from -2 to 2"
        return [Fault("invalid_type", f"input.{SCALE}", sentence)]
    for name in ("lora", "loras"):
        entries = inputs.get(name)
        if isinstance(entries, str):
            entries = [part for part in entries.split(",") if part.strip()]
        if isinstance(entries, list):
            inputs[name] = [_weighted(one, text) for one in entries]
    return []


def _weighted(entry: object, weight: str) -> object:
    return f"{entry.strip()}:{weight}" if isinstance(entry, str) and ":" not in entry else entry
