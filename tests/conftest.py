"""What all tests share."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# A shell gives a job in the background an ignored SIGINT, which every process that a test starts would inherit, and not end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Bounded by count, not by time: a busy machine must not turn a slow example into a failure.
settings.register_profile(
    "swarmbook",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("swarmbook")
