"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Bounded by count, not by time: a busy machine must not turn a slow example into a failure.
settings.register_profile(
    "swarmbook", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.load_profile("swarmbook")
