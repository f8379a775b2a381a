"""Phase 27: a backup in the place of the database."""

from swarmbook.phases.restore.step import restore, snapshots

__all__ = ["restore", "snapshots"]
