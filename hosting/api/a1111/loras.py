"""The LoRAs that AUTOMATIC1111's clients ask for by tags in prompts become our input `loras`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infotext.loras import MOST, WEIGHTS, Lora, Tag, is_name, number


def read(
    tags: Iterable[tuple[str, Tag]], known: Mapping[str, str | None] | None, warnings: list[str]
) -> list[str]:
    """Return the entries of our input; what is not as asked is left out and said, as there.

    Of a name that is there twice the last counts.

    Args:
        tags: in their order, each with the field that it is in.
        known: by the names of the LoRAs that the client may use, why one can't be used with the
            model, if it can't; None where nobody knows yet.
        warnings: gets a sentence for each thing that is not as asked.
    """
    found: dict[str, Lora] = {}
    for field, tag in tags:
        about = f"{field}: {tag.text[:100]}"
        left_out = _fault(tag, known)
        if left_out is None and tag.name not in found and len(found) == MOST:
            left_out = f"there are at most {MOST} at a time"
        if left_out is not None or tag.weights is None:
            warnings.append(f"{about} was left out; {left_out}")
            continue
        if tag.name in found:
            warnings.append(f"{about} counts, and not what was asked of {tag.name} before")
        weight, other = tag.weights
        if weight != other:
            warnings.append(
                f"{about} has two weights; here text encoder and UNet have one, {number(weight)}"
            )
        least, most = WEIGHTS
        if not least <= weight <= most:
            weight = min(max(weight, least), most)
            warnings.append(f"{about} was brought to {weight:g}; here it is {least:g} to {most:g}")
        found[tag.name] = Lora(tag.name, weight=number(weight))
    return [one.entry for one in found.values()]


def _fault(tag: Tag, known: Mapping[str, str | None] | None) -> str | None:
    """Return why a tag's LoRA can't be had, if it can't."""
    if tag.weights is None:
        return "its weight must be a number"
    if not is_name(tag.name) or (known is not None and tag.name not in known):
        return "there is no LoRA of this name"
    reason = known[tag.name] if known is not None else None
    return None if reason is None else f"it can't be used: {reason}"
