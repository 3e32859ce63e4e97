"""Measurements of the engine and the front against the library, diffusers, in one run."""

import stable_diffusion  # noqa: F401 it quiets the libraries, before they are imported
