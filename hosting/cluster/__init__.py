"""Cog's contract over several GPUs, by Ray Serve. Only scripts/cluster imports it."""
