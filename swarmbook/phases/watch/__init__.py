"""Phase 24: Prometheus on the swarm, what it asks, and what wakes a person."""

from swarmbook.phases.watch.admit import admit
from swarmbook.phases.watch.pictures import pictures
from swarmbook.phases.watch.prove import prove
from swarmbook.phases.watch.step import deploy

__all__ = ["admit", "deploy", "pictures", "prove"]
