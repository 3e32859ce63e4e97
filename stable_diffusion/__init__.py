"""The engine of Stable Diffusion image to image: it knows no HTTP, no Cog and no command line."""

import os

__version__ = "0.1.0"

# What the libraries would tell a developer of theirs is noise to a user of ours.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
