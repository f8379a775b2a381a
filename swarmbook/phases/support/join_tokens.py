"""What lets a node into the swarm: it is of use for as long as a node joins, and for no one else."""

from __future__ import annotations

from swarmbook.access.commands import sh

__all__ = ["NEW_JOIN_TOKENS"]

#: Run on a manager. With the tokens of before, no node joins any more.
NEW_JOIN_TOKENS = sh(
    "for role in worker manager; do docker swarm join-token --rotate --quiet $role >/dev/null || exit; done"
)
