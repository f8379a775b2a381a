"""Phase 03: the swarm and the images on its nodes. Phase 05: how it is."""

from swarmbook.phases.swarm.delivery import deliver
from swarmbook.phases.swarm.step import form
from swarmbook.phases.swarm.verify import nodes_table

__all__ = ["deliver", "form", "nodes_table"]
