"""Measures the engine and the server against the library, side by side in one run."""

import stable_diffusion  # noqa: F401 it quiets the libraries, before they are imported
