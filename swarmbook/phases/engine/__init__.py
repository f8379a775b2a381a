"""Phase 03, first third: the Docker Engine of each node."""

from swarmbook.phases.engine.step import configure

__all__ = ["configure"]
