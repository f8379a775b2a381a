"""Phase 20: one address an application uses: who the writer is, and the names that lead there."""

from swarmbook.phases.endpoint.election import elect
from swarmbook.phases.endpoint.prove import prove
from swarmbook.phases.endpoint.step import deploy

__all__ = ["deploy", "elect", "prove"]
