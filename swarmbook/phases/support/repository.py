"""The repository of a cluster's backups: where it is, and by which password it opens."""

from __future__ import annotations

from datetime import timezone
from pathlib import Path

from swarmbook.access.restic import Restic
from swarmbook.book.book import Book
from swarmbook.model.checks import Table
from swarmbook.model.snapshots import Snapshot

__all__ = ["FILE", "PASSWORD", "in_words", "owner_of", "place_of_backups", "repository_of", "snapshots_table"]

#: The one file of each snapshot.
FILE = "galera.mbstream"
#: What the password is called among the cluster's secrets.
PASSWORD = "backup-password"  # noqa: S105 - a name


def place_of_backups(book: Book) -> str:
    """Return the repository as restic names it; a folder of this computer with its whole path.

    Args:
        book: The open book.
    """
    where = book.params.backup_repository
    if not where:
        return str(book.cluster.root / "backups" / book.cluster.name)
    return where if ":" in where else str(book.cluster.root / Path(where).expanduser())


def repository_of(book: Book) -> Restic:
    """Return the repository of the cluster's backups.

    Args:
        book: The open book.
    """
    params = book.params
    password = book.cluster.secret(PASSWORD, params.backup_password)
    return Restic(place_of_backups(book), password, params.backup_timeout)


def owner_of(book: Book) -> str:
    """Return whose the cluster's own snapshots are; see :attr:`Snapshot.owner`."""
    return f"{book.cluster.name}/{book.params.mariadb_cluster_name}"


def in_words(snapshot: Snapshot) -> str:
    """Say when a snapshot was taken, and where the cluster was then."""
    gtid = f", GTID {snapshot.gtid}" if snapshot.gtid else ""
    when = snapshot.time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{snapshot.short} of {snapshot.owner}, {when}, at {snapshot.position or 'an unknown position'}{gtid}"


def snapshots_table(snapshots: list[Snapshot]) -> Table:
    """Make a table of snapshots, the latest first.

    Args:
        snapshots: Of the repository.
    """
    rows = [
        [
            one.short,
            one.time.strftime("%Y-%m-%d %H:%M:%S"),
            one.owner,
            one.member,
            f"{one.size / 1e6:,.1f}" if one.complete else "",
            f"{one.seconds:.1f}" if one.complete else "",
            one.position if one.complete else "not complete: it is removed by the next backup",
            one.gtid or "none",
            one.server,
        ]
        for one in reversed(snapshots)
    ]
    columns = ["snapshot", "taken, UTC", "of", "from", "MB", "seconds", "position", "GTID", "MariaDB"]
    return Table(columns, rows or [["none", *[""] * (len(columns) - 1)]])
