from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

# What draws is imported by the fixtures: most tests do without, and torch takes seconds.
if TYPE_CHECKING:
    from stable_diffusion.models import Model
    from tests.support.studio import Studio

# Whether a checker was downloaded makes no difference to tests.
os.environ["SAFETY_CHECKER"] = "off"

# Servers of tests draw a few pictures: to compile the model would take them longer.
os.environ["EXECUTOR"] = "plain"


@pytest.fixture(scope="session")
def demo() -> Model:
    from stable_diffusion import catalogue, models

    return models.load(catalogue.find("demo"))


@pytest.fixture(scope="session")
def studio(demo: Model) -> Iterator[Studio]:
    from tests.support.studio import Studio

    studio = Studio(demo)
    yield studio
    studio.close()


@pytest.fixture(scope="session")
def classic(demo: Model) -> Studio:
    """The demo model with the noise schedule of SD 2.1, whose last timestep is not pure noise."""
    import dataclasses

    from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

    from tests.support.studio import Studio

    config = {**demo.pipeline.scheduler.config}
    config |= {"rescale_betas_zero_snr": False, "set_alpha_to_one": False}
    components = {**demo.pipeline.components, "scheduler": DDIMScheduler.from_config(config)}
    pipeline = StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
    return Studio(dataclasses.replace(demo, pipeline=pipeline))
