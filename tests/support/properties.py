"""Property tests: hypothesis as it is set up here."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Examples are made from the test alone, and a slow machine is no failure.
settings.register_profile(
    "ours", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def set_up() -> None:
    """Make these the settings of tests that are defined from now on."""
    settings.load_profile("ours")
