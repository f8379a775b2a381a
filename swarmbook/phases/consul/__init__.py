"""Phase 04: an HA Consul on the swarm itself, and the proof that it works."""

from swarmbook.phases.consul.agents import prove
from swarmbook.phases.consul.step import deploy

__all__ = ["deploy", "prove"]
