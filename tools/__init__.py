"""Tools for developers, which `scripts/` starts: benchmark, stress, screenshots."""
