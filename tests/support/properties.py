"""Hypothesis, as our tests use it."""

from __future__ import annotations

# This module is where it is set up.
from hypothesis import HealthCheck, assume, given, settings, strategies  # noqa: TID251
from hypothesis.stateful import (  # noqa: TID251
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

__all__ = [
    "RuleBasedStateMachine",
    "assume",
    "given",
    "invariant",
    "precondition",
    "rule",
    "settings",
    "strategies",
]

# Examples are made from the test alone, and a slow machine is no failure.
settings.register_profile(
    "ours", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ours")
