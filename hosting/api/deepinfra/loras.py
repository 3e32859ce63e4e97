"""DeepInfra's fields for LoRAs.

`lora` is a name, which is read as the input `loras`; `lora_scale` is its weight.
Source: https://deepinfra.com/stabilityai/stable-diffusion-2-1/api and
https://deepinfra.com/docs/advanced/lora_text_to_image.
"""

from __future__ import annotations

from typing import Any

from hosting.queue.inputs import Fault, quote
from infotext.loras import NUMBER, WEIGHTS, number, split

SCALE = "lora_scale"


def scale(inputs: dict[str, Any]) -> list[Fault]:
    """Give `lora_scale` to the LoRAs that have no weight; return what is wrong with it.

    Args:
        inputs: as they were sent; changed.
    """
    if inputs.get("lora") == "":  # which is none there
        del inputs["lora"]
    given = inputs.pop(SCALE, None)
    if given is None or given == "":
        return []
    least, most = WEIGHTS
    weight = _number(given)
    if weight is None or not least <= weight <= most:
        sentence = f"{quote(given)} is not allowed; give a number from {least:g} to {most:g}"
        return [Fault("invalid_type", f"input.{SCALE}", sentence)]
    for name in ("lora", "loras"):
        entries = inputs.get(name)
        if isinstance(entries, str):
            entries = split(entries)
        if isinstance(entries, list):
            inputs[name] = [_weighted(one, number(weight)) for one in entries]
    return []


def _number(given: object) -> float | None:
    if isinstance(given, str):
        return float(given) if NUMBER.fullmatch(given.strip()) else None
    return given if isinstance(given, int | float) and not isinstance(given, bool) else None


def _weighted(entry: object, weight: str) -> object:
    return f"{entry.strip()}:{weight}" if isinstance(entry, str) and ":" not in entry else entry
