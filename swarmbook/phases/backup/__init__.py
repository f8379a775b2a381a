"""Phase 26: the whole database as one snapshot in a repository of restic's, encrypted on this computer."""

from swarmbook.phases.backup.archiving import archive, archived
from swarmbook.phases.backup.step import snapshots, take
from swarmbook.phases.backup.trial import prove

__all__ = ["archive", "archived", "prove", "snapshots", "take"]
