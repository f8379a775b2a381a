"""Phase 07: the Galera cluster. Phase 08: every member asked as a client would ask."""

from swarmbook.phases.galera.accounts import accounts
from swarmbook.phases.galera.step import bootstrap
from swarmbook.phases.galera.verify import replication, state

__all__ = ["accounts", "bootstrap", "replication", "state"]
