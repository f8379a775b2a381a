"""Phase 90: take away everything the book put on the machines, and keep the machines."""

from swarmbook.phases.destroy.step import destroy, doomed

__all__ = ["destroy", "doomed"]
