"""Phase 06: the overlay network, and the proof that it carries packets of its full MTU between every two nodes."""

from swarmbook.phases.overlay.reach import reach
from swarmbook.phases.overlay.step import create

__all__ = ["create", "reach"]
