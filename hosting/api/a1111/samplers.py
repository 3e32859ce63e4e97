"""AUTOMATIC1111's samplers, and which of ours stands for each."""

from __future__ import annotations

from dataclasses import dataclass

from infotext import samplers

NEAREST = {
    "DPM++ 2M SDE Heun": "DPM++ 2M SDE",
    "DPM++ 3M SDE": "DPM++ 2M SDE",
    "DPM++ 2S a": "DPM++ SDE",
    "Restart": "Euler a",
    "DPM fast": "DPM++ 2M",
    "DPM adaptive": "DPM++ 2M",
    "DDIM CFG++": "DDIM",
}
"""Its samplers that are not here, and which of those that are stands for each: one that draws new
noise in each step for those that do, a solver of the second order for such solvers."""
SPACINGS = (
    *("Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform", "KL Optimal"),
    *("Align Your Steps", "Simple", "Normal", "DDIM", "Beta", "Karras Exponential", "Turbo"),
)
"""Its ways to space the timesteps, which it calls schedulers. A sampler's name may end in one."""
EVEN = ("", "automatic", "none", "n/a", "sgm uniform", "sgm_uniform", "simple")
"""Those that are our own, in lower case."""
MOST_STEPS = 512
"""Of the samplers that have no limit of their own."""
_SCHEDULERS = {name: scheduler for scheduler, name in samplers.SAMPLERS.items()}
_NEAREST = {name.lower(): name for name in NEAREST}


@dataclass(frozen=True)
class Sampler:
    """The sampler that stands for the one that was asked for.

    name: AUTOMATIC1111's.
    scheduler, spacing: our inputs of those names.
    warnings: sentences on what differs.
    """

    name: str
    scheduler: str
    spacing: str
    warnings: list[str]

    @property
    def steps(self) -> tuple[int, int]:
        """The least and the most that it takes."""
        return 1, samplers.MOST_STEPS.get(self.scheduler, MOST_STEPS)


def find(name: str, spacing: str = "") -> Sampler | None:
    """Return the sampler that stands for one of AUTOMATIC1111's; None where that is none.

    Args:
        name: in any case, with or without a way to space the timesteps.
        spacing: that way by itself, if it is given; any text.
    """
    asked = name.strip()
    known, ending = _known(asked)
    # The longest first: "Karras Exponential" ends in "Exponential".
    for other in sorted(SPACINGS, key=len, reverse=True):
        if known is None and asked.lower().endswith(f" {other.lower()}"):
            known, ending = _known(asked[: -len(other)].rstrip())[0], other
    if known is None:
        return None
    used, warnings = NEAREST.get(known, known), list[str]()
    if used != known:
        warnings.append(f"sampler_name: {known} is not here; {used} was used, the nearest")
    scheduler, spacing = _SCHEDULERS[used], ending or spacing.strip()
    if spacing.lower() in EVEN:
        return Sampler(used, scheduler, "default", warnings)
    if spacing.lower() in samplers.SPACINGS and scheduler not in samplers.EVEN_SCHEDULERS:
        return Sampler(used, scheduler, spacing.lower(), warnings)
    of = f" with {used}" if spacing.lower() in samplers.SPACINGS else ""
    sentence = f"scheduler: {spacing[:50]} has no effect{of}"
    warnings.append(f"{sentence}; the steps are spaced evenly, down to the last")
    return Sampler(used, scheduler, "default", warnings)


def _known(name: str) -> tuple[str | None, str]:
    """Return AUTOMATIC1111's name of a sampler, however it is written, and the spacing in it."""
    if name.lower() in _NEAREST:
        return _NEAREST[name.lower()], ""
    if not (found := samplers.read(name)):
        return None, ""
    spacing = found.get("spacing", "")
    return samplers.SAMPLERS[found["scheduler"]], samplers.SPACINGS.get(spacing, spacing)
