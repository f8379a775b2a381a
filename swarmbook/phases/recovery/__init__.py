"""Phase 25: after an outage of all members, the right one goes on, and the others join it."""

from swarmbook.phases.recovery.step import positions, recover

__all__ = ["positions", "recover"]
