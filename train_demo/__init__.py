"""The training of the demo model of `weights/demo` from openly licensed pictograms."""

import stable_diffusion  # noqa: F401 it quiets the libraries, before they are imported
