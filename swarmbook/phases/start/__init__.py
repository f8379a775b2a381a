"""Phase 00: what will be built, whether this computer has what it takes, and a form for the parameters."""

from swarmbook.phases.start.computer import picture, prerequisites
from swarmbook.phases.start.form import edit

__all__ = ["edit", "picture", "prerequisites"]
