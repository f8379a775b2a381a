"""Phase 21: fewer nodes, members or managers, without an outage. More of them is what 01 to 08 do."""

from swarmbook.phases.scale.step import shrink

__all__ = ["shrink"]
