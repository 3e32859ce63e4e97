"""JSON files of models, which may be anything: of any size, nested, with numbers of any size."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_BYTES = 2**24
"""Size of the largest file that is read; tokenizers have the largest, of a few megabytes."""
LARGEST_NUMBER = 2**17
"""The largest number in a configuration; tokens have the largest, up to 49408."""
COUNTED = ("unet", "vae", "text_encoder")
"""The components in whose configurations whole numbers are sizes and counts."""
UNLIMITED = "lambda_min_clipped"
"""The setting of schedulers that diffusers writes as -Infinity, which JSON does not have."""


LONGEST_QUOTE_CHARACTERS = 60
"""Characters of a value that a message quotes."""


class FileError(ValueError):
    """A file of a model can't be used; the message says why and what to do."""


@dataclass(frozen=True)
class _Rule:
    """Which values a setting may have, as a test and in words."""

    allows: Callable[[Any], bool]
    words: str


def _one_of(*choices: str) -> _Rule:
    return _Rule(lambda value: value in choices, "one of " + ", ".join(choices))


def _whole_from(least: int) -> _Rule:
    return _Rule(
        lambda value: type(value) is int and value >= least, f"a whole number from {least}"
    )


def _each(rule: _Rule) -> _Rule:
    def allows(value: Any) -> bool:
        return value is None or all(map(rule.allows, value if isinstance(value, list) else [value]))

    return _Rule(allows, f"{rule.words}, a list of such, or null")


_BETA = _Rule(
    lambda value: type(value) in (int, float) and 0 < value < 1, "a number between 0 and 1"
)
_ACTIVATION = _one_of("gelu", "mish", "relu", "silu", "swish")
_RULES: dict[str, dict[str, _Rule]] = {
    "scheduler": {
        "prediction_type": _one_of("epsilon", "v_prediction"),
        "beta_schedule": _one_of("linear", "scaled_linear", "squaredcos_cap_v2"),
        "beta_start": _BETA,
        "beta_end": _BETA,
        "trained_betas": _Rule(lambda value: value is None, "null"),
        "num_train_timesteps": _whole_from(512),  # as many steps may be asked for
    },
    "text_encoder": {
        "hidden_act": _one_of("gelu", "quick_gelu"),
        "num_attention_heads": _whole_from(1),
        "max_position_embeddings": _whole_from(3),  # two are for the marks of start and end
    },
    "unet": {
        "act_fn": _ACTIVATION,
        "attention_head_dim": _each(_whole_from(1)),
        "num_attention_heads": _each(_whole_from(1)),
    },
    "vae": {"act_fn": _ACTIVATION},
}
"""The settings of each component that the libraries would refuse late, or not at all."""


def require_regular(path: Path) -> None:
    """Check that a path is that of a file: opening a pipe or a device may wait for ever.

    Raises:
        FileError: when there is none, or it is something else.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise FileError(f"{str(path)[:200]!r} can't be read ({error_text(error)})") from error
    if not stat.S_ISREG(mode):
        raise FileError(f"{path} is not a regular file: put the file itself there")


def read(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        FileError: when it does not, or can't be read.
    """
    require_regular(path)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        return parse(content)
    except (OSError, ValueError) as error:
        raise FileError(
            f"{path} can't be read ({error_text(error)}): download it again, or restore it"
        ) from error


def read_configuration(path: Path) -> dict[str, Any]:
    """Read a component's configuration, whose numbers are those of a model that can be built.

    Raises:
        FileError: when it is none.
    """
    configuration = read(path)
    if _extent(configuration) > LARGEST_NUMBER:
        raise FileError(
            f"{path} has a number, or a list of numbers, beyond {LARGEST_NUMBER}, which no model "
            "of Stable Diffusion needs: download it again"
        )
    if path.parent.name in COUNTED and (key := _negative_key(configuration)):
        raise FileError(f"{path} has a negative {key}: download it again")
    for key, rule in _RULES.get(path.parent.name, {}).items():
        if key in configuration and not rule.allows(configuration[key]):
            value = json.dumps(configuration[key])[:LONGEST_QUOTE_CHARACTERS]
            raise FileError(f"{path} has {value} as {key}: give {rule.words}, or download it again")
    return configuration


def require_merges(path: Path) -> None:
    """Check a tokenizer's merges: after a comment, a line for each, of two parts.

    Raises:
        FileError: when they are not that, or there are none.
    """
    require_regular(path)
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(LARGEST_BYTES).rstrip().split("\n")
    except (OSError, UnicodeError) as error:
        raise FileError(
            f"{path} can't be read ({error_text(error)}): download it again, or restore it"
        ) from error
    merges = lines[1:] if "#version" in lines[0] else lines
    if merges in ([], [""]):
        raise FileError(f"{path} has no merges: download it again")
    for number, line in enumerate(merges, len(lines) - len(merges) + 1):
        if len(line.split(" ")) != 2 or not line.isprintable():
            raise FileError(
                f"line {number} of {path} is {line[:LONGEST_QUOTE_CHARACTERS]!r} and no merge, "
                "which has two parts with a space between: download it again"
            )


def _negative_key(configuration: dict[str, Any]) -> str | None:
    for key, value in configuration.items():
        numbers = value if isinstance(value, list) else [value]
        if any(type(number) is int and number < 0 for number in numbers):
            return key
    return None


def parse(content: bytes) -> dict[str, Any]:
    """Parse one JSON object without NaN and Infinity (but -Infinity, for `UNLIMITED`).

    Raises:
        ValueError: when it is something else.
    """
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"it has more than {LARGEST_BYTES / 2**20:.0f} MiB")
    try:
        parsed = json.loads(content, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not a valid JSON text: {error_text(error)}") from error
    if not isinstance(parsed, dict):
        raise ValueError("it is not a JSON object")
    return parsed


def error_text(error: BaseException) -> str:
    """Return an exception's message in one line, or its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) and text != "-Infinity":
        raise ValueError(f"{text[:20]} is not a number of JSON")
    return number


def _extent(value: Any) -> float:
    """Return the largest number in a configuration, where those of a list are added up."""
    if isinstance(value, dict):
        return max((_extent(item) for key, item in value.items() if key != UNLIMITED), default=0)
    if isinstance(value, list):
        return sum(map(_extent, value))
    return abs(value) if isinstance(value, int | float) else 0
