"""Phase 22: restarts and updates, one node at a time, each behind a gate."""

from swarmbook.phases.rolling.step import roll

__all__ = ["roll"]
