"""The words for how a cell, a notebook or a run ended, or where it stands."""

from __future__ import annotations

__all__ = ["COMPLETED", "FAILED", "INTERRUPTED", "KERNEL_DIED", "NOT_RUN", "PENDING", "RUNNING", "TIMEOUT", "UNREACHED"]

PENDING, RUNNING, COMPLETED, FAILED = "pending", "running", "completed", "failed"
TIMEOUT, INTERRUPTED, KERNEL_DIED, NOT_RUN = "timeout", "interrupted", "kernel-died", "not-run"
#: A run did not get as far as these.
UNREACHED = (NOT_RUN, PENDING)
