"""The commands of the product, which `scripts/` starts."""
