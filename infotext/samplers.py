"""The names that samplers have elsewhere, and our inputs that they are.

Sources: AUTOMATIC1111/stable-diffusion-webui, modules/sd_samplers_kdiffusion.py,
modules/sd_samplers_timesteps.py and modules/sd_samplers_lcm.py; vladmandic/sdnext,
modules/sd_samplers_diffusers.py, for DEIS, SA Solver and TCD; comfyanonymous/ComfyUI,
comfy/samplers.py; crowsonkb/k-diffusion, k_diffusion/sampling.py; diffusers, "Schedulers" in its
documentation.
"""

from __future__ import annotations

import re

SAMPLERS = {
    "DDIM": "DDIM",
    "DPMSolverMultistep": "DPM++ 2M",
    "K_EULER": "Euler",
    "K_EULER_ANCESTRAL": "Euler a",
    "KLMS": "LMS",
    "PNDM": "PLMS",
    "K_HEUN": "Heun",
    "K_DPM_2": "DPM2",
    "K_DPM_2_ANCESTRAL": "DPM2 a",
    "DPMSolverMultistepSDE": "DPM++ 2M SDE",
    "DPMSolverSinglestepSDE": "DPM++ SDE",
    "UniPCMultistep": "UniPC",
    "DEISMultistep": "DEIS",
    "SASolver": "SA Solver",
    "LCM": "LCM",
    "TCD": "TCD",
}
"""By the choices of our input `scheduler`, AUTOMATIC1111's names."""
ALIASES = {
    "DDIM": ("ddim",),
    "DPMSolverMultistep": ("k_dpmpp_2m", "dpmpp_2m"),
    "K_EULER": ("k_euler", "EulerDiscrete"),
    "K_EULER_ANCESTRAL": (
        *("k_euler_a", "k_euler_ancestral", "euler_ancestral", "EulerAncestralDiscrete"),
    ),
    "KLMS": ("k_lms", "LMSDiscrete"),
    "PNDM": ("plms",),
    "K_HEUN": ("k_heun", "HeunDiscrete"),
    "K_DPM_2": ("k_dpm_2", "dpm_2", "KDPM2Discrete"),
    "K_DPM_2_ANCESTRAL": ("k_dpm_2_a", "dpm_2_ancestral", "KDPM2AncestralDiscrete"),
    "DPMSolverMultistepSDE": ("k_dpmpp_2m_sde", "dpmpp_2m_sde"),
    "DPMSolverSinglestepSDE": ("k_dpmpp_sde", "dpmpp_sde"),
    "UniPCMultistep": ("unipc", "uni_pc"),
    "DEISMultistep": ("deis",),
    "SASolver": ("sa_solver",),
    "LCM": ("k_lcm",),
    "TCD": (),
}
"""By ours, their further names. Case, spaces, `-`, `_`, `Scheduler` at the end and `sample_` at the
beginning, which k-diffusion's functions have, don't matter."""
EVEN_SCHEDULERS = ("DDIM", "K_EULER_ANCESTRAL", "PNDM", "LCM", "TCD")
"""Those of ours whose steps can only be spaced evenly: diffusers' classes know no other way."""
MOST_STEPS = {"LCM": 50, "TCD": 50}
"""By ours, the most steps of those that have a limit: their timesteps are some of the 50 that the
models which they are for were distilled at."""
SPACINGS = {"karras": "Karras", "exponential": "Exponential"}
"""By the choices of our input `spacing`, AUTOMATIC1111's names; the others have none."""
ENDINGS = {
    "karras": "karras",
    "ka": "karras",
    "exponential": "exponential",
    "exp": "exponential",
    "sgmuniform": "sgm_uniform",
}
"""What a sampler's name may end in, as `_key` has it, and the choice of `spacing` that it means."""


def _key(name: str) -> str:
    letters = re.sub(r"[\s_-]+", "", name.casefold())
    return letters.removeprefix("sample").removesuffix("scheduler")


_KNOWN = {
    _key(name): scheduler
    for scheduler, theirs in SAMPLERS.items()
    for name in (scheduler, theirs, *ALIASES[scheduler])
}


def read(name: str) -> dict[str, str] | None:
    """Return the inputs that a sampler's name stands for; None where it is no name of one here.

    Args:
        name: any text, such as `DPM++ 2M Karras`: `spacing` is returned where it ends in one
            of `ENDINGS`.
    """
    key = _key(name[:100])
    if key in _KNOWN:
        return {"scheduler": _KNOWN[key]}
    for ending, spacing in ENDINGS.items():
        if key.endswith(ending) and (scheduler := _KNOWN.get(key.removesuffix(ending))):
            return {"scheduler": scheduler, "spacing": spacing}
    return None
