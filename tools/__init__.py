"""The tools of developers, which `scripts/` starts: benchmark, stress, screenshots."""
