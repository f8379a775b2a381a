"""Phase 02: the system's packages, and the second disk under the engine's data."""

from swarmbook.phases.post_provision.disks import lay_out
from swarmbook.phases.post_provision.software import system

__all__ = ["lay_out", "system"]
