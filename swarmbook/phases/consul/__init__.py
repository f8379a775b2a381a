"""Phase 04: an HA Consul on the swarm itself."""

from swarmbook.phases.consul.step import deploy

__all__ = ["deploy"]
