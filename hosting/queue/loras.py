"""The LoRAs that a prediction asks for: which its token may use, and of which files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace

from hosting.queue.inputs import Fault, InvalidInputs, quote
from infotext.loras import MOST, PINNED_DIGITS, Lora, LoraError, read


def pinned(
    entries: Sequence[str],
    installed: Mapping[str, str] | None,
    allowed: Set[str] | None,
    field: str = "input.loras",
) -> list[str]:
    """Return the entries of the input `loras` with the hashes of the files that are there now.

    What the client has pinned stays. So does a name that is not known here: only the worker knows
    what was installed since it last told.

    Args:
        installed: by name, the SHA-256 of each file; None where nobody knows yet.
        allowed: names that the token may use; None is all.
        field: as the client named the input.

    Raises:
        InvalidInputs: naming every fault.
    """
    if len(entries) > MOST:
        sentence = f"{len(entries)} LoRAs were given; give at most {MOST}"
        raise InvalidInputs(Fault("too_many", field, sentence))
    found: list[Lora] = []
    faults = []
    for entry in entries:
        try:
            found.append(read(entry))
        except LoraError as error:
            faults.append(Fault("format", field, f"{quote(entry)} is not allowed; {error}"))
    faults += _faults(found, installed, allowed, field)
    if faults:
        raise InvalidInputs(*faults)
    return [_pinned(one, installed or {}).entry for one in found]


def _faults(
    found: Sequence[Lora],
    installed: Mapping[str, str] | None,
    allowed: Set[str] | None,
    field: str,
) -> Iterator[Fault]:
    names = [one.name for one in found]
    usable = allowed or frozenset()
    if installed is not None:
        usable = usable & installed.keys()
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield Fault("conflict", field, f"{quote(name)} is given twice; give it once")
        # The worker would name the nearest ones, which may be others' alone.
        if allowed is not None and name not in usable:
            advice = f"give one of {', '.join(sorted(usable))}" if usable else "there are none"
            sentence = f"There is no LoRA {quote(name)} that you may use; {advice}"
            yield Fault("enum", field, sentence)


def _pinned(lora: Lora, installed: Mapping[str, str]) -> Lora:
    if lora.hash is not None or lora.name not in installed:
        return lora
    return replace(lora, hash=installed[lora.name][:PINNED_DIGITS])
