"""Say what picture files carry: a watermark, Content Credentials, what they were made from."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def main() -> int:
    """Run the command; return 0, or 2 where a file is no picture."""
    parser = argparse.ArgumentParser(prog="scripts/inspect", description=__doc__)
    parser.add_argument("file", nargs="+", type=Path, help="a picture's file")
    parser.add_argument("--json", action="store_true", help="as a JSON object a line")
    parser.add_argument(
        "--limited",
        action="store_true",
        help="for one file of a stranger: end what takes too much time or memory",
    )
    arguments = parser.parse_args()

    from stable_diffusion.request import InputError

    status = 0
    for path in arguments.file:
        try:
            carried = what_it_carries(path, arguments.limited)
        except (InputError, OSError) as error:
            status = 2
            if arguments.json:
                print(json.dumps({"file": str(path), "error": str(error)}))
            else:
                print(_printable(f"{path}: {error}"), file=sys.stderr)
            continue
        if arguments.json:
            print(json.dumps({"file": str(path), **carried}))
        else:
            print(_printable("\n".join(_lines(path, carried))))
    return status


def what_it_carries(path: Path, is_limited: bool = False) -> dict[str, Any]:
    """Return what a picture's file carries.

    That is `watermark`, `made_from` (our metadata) and `parameters` (an infotext), each null where
    it has none, `fields`: what the infotext says, by AUTOMATIC1111's names, `loras`: what its
    prompt asks for, as the input of that name has it, and, where the library that reads them is
    installed, `content_credentials`: what its C2PA manifest says, or null.

    Args:
        is_limited: whether this process is ended when that takes too long.

    Raises:
        InputError: when it is no picture that is taken as an input.
        OSError: when it can't be read.
    """
    import infotext
    from stable_diffusion import content_credentials, decoder_processes, images, watermark
    from stable_diffusion.decoding import decode

    has_reader = content_credentials.is_installed()
    claim: Callable[[int], None] | None = None
    if is_limited:
        # The watermark takes as long to read as the slowest kind of file.
        limits = decoder_processes.Limits(pixels_a_second=4_000_000)
        claim = decoder_processes.limit_process(path.stat().st_size, limits)
    try:
        picture, _ = decode("image", path, claim=claim, as_numbers=True)
        credentials = content_credentials.read(path.read_bytes()) if has_reader else None
        mark = watermark.read(picture.convert("RGB"))
        made_from, text = dict[str, Any](), ""
        with suppress(Exception):  # the texts of a sound picture may be broken
            made_from = images.read_metadata(path)
        with suppress(Exception):
            text = images.read_infotext(path)
    except MemoryError:
        raise decoder_processes.too_much_memory("image") from None
    fields = infotext.read(text) if text else {}
    return {
        "watermark": mark,
        "made_from": made_from or None,
        "parameters": text or None,
        "fields": fields,
        "loras": infotext.loras.entries(fields.get("Prompt", "")),
        **({"content_credentials": credentials} if has_reader else {}),
    }


def _lines(path: Path, carried: dict[str, Any]) -> list[str]:
    lines = [f"{path}: watermark {carried['watermark'] or 'none that is known'}"]
    credentials = carried.get("content_credentials")
    if credentials:
        faults = "; ".join(credentials["faults"])
        lines.append(
            f"  Content Credentials: {credentials['state']}, signed by "
            f"{credentials['signed_by'] or 'nobody that is named'}" + (faults and f" ({faults})")
        )
    if carried["made_from"]:
        values = carried["made_from"].items()
        lines += [f"  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values]
    if carried["parameters"]:
        lines += ["  parameters:", *(f"    {line}" for line in carried["parameters"].splitlines())]
    return lines


def _printable(text: str) -> str:
    """Return a text as a terminal may have it: what it doesn't show is escaped, as by `repr`."""
    return "".join(one if one.isprintable() or one in "\n\t" else repr(one)[1:-1] for one in text)


if __name__ == "__main__":
    sys.exit(main())
