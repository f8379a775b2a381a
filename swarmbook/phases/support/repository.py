"""The repository of a cluster's backups: where it is, and by which password it opens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timezone
from pathlib import Path

import filelock

from swarmbook.access.restic import Restic
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.book.book import Book
from swarmbook.model.checks import Table
from swarmbook.model.snapshots import Snapshot

__all__ = [
    "FILE",
    "LOGS",
    "PASSWORD",
    "alone_at",
    "in_words",
    "owner_of",
    "place_of_backups",
    "repository_of",
    "snapshots_table",
]

#: The one file of each snapshot of a database, and of each piece of the archive of binary logs.
FILE, LOGS = "galera.mbstream", "binlogs.tar"
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


@contextlib.contextmanager
def alone_at(book: Book, limit_s: float) -> Iterator[None]:
    """Have the repository alone, as far as this folder's commands go: restic refuses where two want that at once.

    A backup takes hours and holds the cluster all the time; the archive has to go on meanwhile. So it is not the cluster's lock.

    Args:
        book: The open book.
        limit_s: Seconds to wait for another one.

    Raises:
        WorldError: Another one has it for longer than that.
    """
    file = book.cluster.folder / "repository.lock"
    lock = filelock.FileLock(file, mode=0o600)
    try:
        lock.acquire(timeout=limit_s)
    except filelock.Timeout:
        raise WorldError(
            "the repository is locked: another command of this folder works on it",
            where=str(file),
            wanted=f"it ends within {limit_s:g} s",
            seen="it goes on",
            next="run it again when that has ended",
            code=Code.REPOSITORY_LOCKED,
        ) from None
    try:
        yield
    finally:
        lock.release()


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
