"""Phase 30: a fault is done to a lab while an application works, and every acknowledged commit is accounted for."""

from swarmbook.phases.drill.step import drill, parts

__all__ = ["drill", "parts"]
