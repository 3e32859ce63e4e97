"""The text in a picture's file that says how it was made, in the form that image browsers read.

It is AUTOMATIC1111's "infotext": the prompt, `Negative prompt: ` and it, and a last line of fields:
`Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512`. In PNG it is the text chunk
`parameters`, in other formats EXIF's user comment. Civitai and "PNG info" tabs read it too.
Source: AUTOMATIC1111/stable-diffusion-webui, `create_infotext` in modules/processing.py and
`parse_generation_parameters` in modules/infotext_utils.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infotext import loras
from infotext.samplers import SAMPLERS, SPACINGS

NEGATIVE = "Negative prompt:"
FEWEST_FIELDS = 3
"""Fields that the last line has at least; with fewer it belongs to the prompt."""
FIELD = re.compile(r'\s*(\w[\w \-/]*):\s*("(?:\\.|[^\\"])++"|[^,]*)(?:,|$)')


def write(inputs: Mapping[str, Any], size: tuple[int, int], seed: int, model: str) -> str:
    """Return the infotext of a picture.

    Args:
        inputs: the prediction's, by the names of docs/contract.md; what is left out, or None, has
            no field. `strength` is to be left out where there was no image. `loras` are tags at the
            prompt's end; there are no `Lora hashes`, as theirs are of the tensors alone.
        size: width and height in pixels: the picture's, or of two passes that of the first.
        seed: the picture's own.
        model: its name.
    """
    scheduler, scale = inputs.get("scheduler"), inputs.get("refine_scale") or 1
    first, second = inputs.get("strength"), inputs.get("refine_strength") if scale > 1 else None
    fields = {
        "Steps": inputs.get("num_inference_steps"),
        "Sampler": SAMPLERS.get(scheduler, scheduler) if scheduler else None,
        "Schedule type": {**SPACINGS, "sgm_uniform": "SGM Uniform"}.get(
            inputs.get("spacing") or ""
        ),
        "CFG scale": inputs.get("guidance_scale"),
        "Seed": seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": model,
        "Denoising strength": second if first is None else first,
        **_masked(inputs),
        "Tiling": inputs.get("tiling") or None,
        # Theirs counts the layer that is read, from the end.
        "Clip skip": inputs["clip_skip"] + 1 if inputs.get("clip_skip") else None,
        "Eta DDIM": inputs.get("eta") or None,
    }
    if scale > 1:
        fields |= {
            "Hires upscale": scale,
            "Hires steps": inputs.get("refine_steps"),
            "Hires upscaler": inputs.get("upscaler") or "Lanczos",
            # SD.Next's name: theirs has a second pass only where there is no image.
            "Hires strength": None if first is None else second,
        }
    last = ", ".join(
        f"{name}: {_written(value)}" for name, value in fields.items() if value is not None
    )
    lines = [loras.with_tags(inputs.get("prompt") or "", inputs.get("loras") or ())]
    if inputs.get("negative_prompt"):
        lines.append(f"{NEGATIVE} {inputs['negative_prompt']}")
    return "\n".join([*lines, last]).replace("\0", "").strip()


def read(text: str) -> dict[str, str]:
    """Return what an infotext says, by AUTOMATIC1111's names.

    `Prompt` and `Negative prompt` are always there, and may be empty. A size, such as that in
    `Size`, is two entries: `Size-1` is the width, `Size-2` the height.

    Args:
        text: of any origin. Where it is no infotext, all of it is the prompt.
    """
    *lines, last = text.strip().split("\n")
    fields = list(_fields(last))
    if len(fields) < FEWEST_FIELDS:
        lines, fields = [*lines, last], []
    lines = [line.strip() for line in lines]
    split = next((at for at, line in enumerate(lines) if line.startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[split:]).removeprefix(NEGATIVE).strip()
    found = {"Prompt": "\n".join(lines[:split]), "Negative prompt": negative}
    for name, value in fields:
        if size := re.fullmatch(r"(\d+)x(\d+)", value):
            found |= {f"{name}-1": size[1], f"{name}-2": size[2]}
        else:
            found[name] = value
    return found


def _masked(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of what was drawn with a mask."""
    fields: dict[str, Any] = {"Mask blur": inputs.get("mask_blur") or None}
    if inputs.get("invert_mask"):
        fields["Mask mode"] = "Inpaint not masked"
    if inputs.get("only_masked"):
        fields["Inpaint area"] = "Only masked"
        fields["Masked area padding"] = inputs.get("only_masked_padding")
    return fields


def _written(value: object) -> str:
    """Return a field's value; in quotes where it could be taken for more than one field."""
    if isinstance(value, float):
        value = int(value) if value.is_integer() else value
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:\n"]', text) else text


def _fields(line: str) -> Iterator[tuple[str, str]]:
    """Yield names and values of the fields in a line; what lies between them is skipped."""
    start = 0
    while 0 <= start < len(line):
        if field := FIELD.match(line, start):
            yield field[1], _unquoted(field[2])
            start = field.end()
        else:
            start = line.find(",", start) + 1 or len(line)


def _unquoted(value: str) -> str:
    if not (value.startswith('"') and value.endswith('"')):
        return value
    try:
        text = json.loads(value)
        text.encode()  # it has no half characters
    except ValueError:
        return value
    return str(text)
