"""Phase 09: an application uses the cluster by its endpoint, and an oracle holds what was acknowledged against what is there."""

from swarmbook.phases.use.step import prove, reach, work

__all__ = ["prove", "reach", "work"]
