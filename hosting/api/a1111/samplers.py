"""AUTOMATIC1111's samplers, and which of ours stands for each."""

from __future__ import annotations

from dataclasses import dataclass

TWINS = {
    "DPM++ 2M": "DPMSolverMultistep",
    "Euler a": "K_EULER_ANCESTRAL",
    "Euler": "K_EULER",
    "LMS": "KLMS",
    "DDIM": "DDIM",
    "PLMS": "PNDM",
}
"""Its samplers that are here, and the choices of our input `scheduler` that they are."""
ALIASES = {
    "DPM++ 2M": ["k_dpmpp_2m"],
    "Euler a": ["k_euler_a", "k_euler_ancestral"],
    "Euler": ["k_euler"],
    "LMS": ["k_lms"],
    "DDIM": ["ddim"],
    "PLMS": ["plms"],
}
NEAREST = {
    "DPM++ SDE": "Euler a",
    "DPM++ 2M SDE": "Euler a",
    "DPM++ 2M SDE Heun": "Euler a",
    "DPM++ 2S a": "Euler a",
    "DPM++ 3M SDE": "Euler a",
    "DPM2 a": "Euler a",
    "Restart": "Euler a",
    "LCM": "Euler a",
    "Heun": "DPM++ 2M",
    "DPM2": "DPM++ 2M",
    "DPM fast": "DPM++ 2M",
    "DPM adaptive": "DPM++ 2M",
    "UniPC": "DPM++ 2M",
    "DDIM CFG++": "DDIM",
}
"""Its other samplers, and which of those that are here stands for each: one that draws new noise in
each step for those that do, a solver of the second order for such solvers."""
SPACINGS = (
    *("Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform", "KL Optimal"),
    *("Align Your Steps", "Simple", "Normal", "DDIM", "Beta", "Karras Exponential", "Turbo"),
)
"""Its ways to space the timesteps, which it calls schedulers. A sampler's name may end in one."""
_KNOWN = {name.lower(): name for name in (*TWINS, *NEAREST)} | {
    alias: name for name, aliases in ALIASES.items() for alias in aliases
}


@dataclass(frozen=True)
class Sampler:
    """The sampler that stands for the one that was asked for.

    name: AUTOMATIC1111's.
    scheduler: our input of that name.
    warnings: sentences on what differs.
    """

    name: str
    scheduler: str
    warnings: list[str]


def find(name: str, spacing: str = "") -> Sampler | None:
    """Return the sampler that stands for one of AUTOMATIC1111's; None where that is none.

    Args:
        name: in any case, with or without a way to space the timesteps.
        spacing: that way by itself, if it is given; any text.
    """
    asked = name.strip()
    known = _KNOWN.get(asked.lower())
    # The longest first: "Karras Exponential" ends in "Exponential".
    for ending in sorted(SPACINGS, key=len, reverse=True):
        if known is None and asked.lower().endswith(f" {ending.lower()}"):
            known, spacing = _KNOWN.get(asked[: -len(ending)].rstrip().lower()), ending
    if known is None:
        return None
    used = NEAREST.get(known, known)
    warnings = []
    if used != known:
        warnings.append(f"sampler_name: {known} is not here; {used} was used, the nearest")
    if spacing.strip().lower() not in ("", "automatic", "none", "n/a"):
        sentence = f"scheduler: {spacing.strip()[:50]} has no effect; each sampler spaces its steps"
        warnings.append(f"{sentence} evenly, down to the last")
    return Sampler(used, TWINS[used], warnings)
