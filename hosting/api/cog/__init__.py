"""Cog's API, that of the container."""
