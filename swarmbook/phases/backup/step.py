"""Phase 26: mariadb-backup on a member, its stream into restic on this computer; nothing is kept in between."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from swarmbook.access.channel import Flow
from swarmbook.access.commands import Script, sh
from swarmbook.access.mbstream import About, Broken, Reader
from swarmbook.access.restic import Restic
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, WorldError
from swarmbook.base.secrets import mask
from swarmbook.book.book import Book
from swarmbook.book.step import Step, look
from swarmbook.model.archive import Piece
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, Table, equal
from swarmbook.model.snapshots import Snapshot, tags_of
from swarmbook.params import Params
from swarmbook.phases.backup.source import source_among
from swarmbook.phases.endpoint.agents import ask_agents, writer_among
from swarmbook.phases.support.members import member_name
from swarmbook.phases.support.repository import (
    FILE,
    alone_at,
    in_words,
    owner_of,
    place_of_backups,
    repository_of,
    snapshots_table,
)

__all__ = ["Backups", "Take", "seen_in", "snapshots", "take"]

#: Characters of what mariadb-backup has said last that an error carries.
_LAST_WORDS = 2000


@dataclass(frozen=True)
class Backups:
    """The repository, and what a backup is taken of.

    Args:
        place: The repository.
        there: It exists.
        opened: When this notebook was opened; a snapshot that is newer is its own.
        snapshots: All that are ours, the oldest first.
        source: The node from whose member a backup is taken.
        container: That member's.
        owner: Whose the cluster's snapshots are.
        wrong: What restic's own check has found, once a snapshot was taken.
    """

    place: str
    there: bool
    opened: datetime
    snapshots: tuple[Snapshot, ...] = ()
    source: str = ""
    container: str = field(default="", repr=False)
    owner: str = ""
    wrong: str = ""

    @property
    def own(self) -> list[Snapshot]:
        """Those of this cluster."""
        return [one for one in self.snapshots if one.owner == self.owner]

    @property
    def taken(self) -> Snapshot | None:
        """The one that was taken since this notebook was opened."""
        return next((one for one in reversed(self.own) if one.complete and one.time >= self.opened), None)


def seen_in(book: Book) -> tuple[Restic, bool, list[Snapshot]]:
    """Look into the repository; no password is made for that.

    Args:
        book: The open book.
    """
    with book.cluster.untouched():
        restic = repository_of(book)
        there = restic.exists()
        return restic, there, restic.snapshots() if there else []


@look(hosts=0)
def snapshots(book: Book) -> Table:
    """List what is in the repository."""
    return snapshots_table(seen_in(book)[2])


class Take(Step[Backups, Params]):
    """Take a backup, forget those that are kept no longer, and have restic check its repository.

    Raises:
        OutOfOrder: No member runs.
        WorldError: No member may be taken for it; the repository does not open; or the backup has failed: then there is no snapshot.
    """

    name = "backup"

    def hosts(self, book: Book) -> int:
        return 1

    def observe(self, book: Book) -> Backups:
        params = book.params
        restic, there, found = seen_in(book)
        opened = datetime.fromtimestamp(time.time() - (time.monotonic() - book.opened), timezone.utc)
        seen = Backups(place_of_backups(book), there, opened, tuple(found), owner=owner_of(book))
        if seen.taken is not None:
            with alone_at(book, book.params.backup_timeout):
                return replace(seen, wrong=restic.check())
        says = ask_agents(book, all_of_them=False)
        source = source_among(says, len(params.members()), writer_among(params, says))
        return replace(seen, source=source, container=says[source].container)

    def want(self, book: Book, seen: Backups) -> Params:
        return book.params

    def plan(self, wanted: Params, seen: Backups) -> list[Change]:
        if seen.taken is not None:
            return []
        changes = [] if seen.there else [Change("here", Action.MAKE_REPOSITORY, (seen.place,))]
        changes.append(Change(seen.source, Action.BACKUP, (seen.place,)))
        if wanted.backup_keep:
            changes.append(Change("here", Action.FORGET_BACKUPS, (wanted.backup_keep,)))
        # Of a run that was killed.
        broken = tuple(one.short for one in seen.own if not one.complete)
        return changes + ([Change("here", Action.REMOVE_BROKEN, broken)] if broken else [])

    def apply(self, book: Book, wanted: Params, seen: Backups, changes: list[Change]) -> None:
        restic = repository_of(book)
        with Todo(changes) as todo:
            if todo.take(Action.MAKE_REPOSITORY):
                restic.make()
            for change in todo.take(Action.REMOVE_BROKEN):
                with alone_at(book, wanted.backup_timeout):
                    restic.forget(change.things)
            for change in todo.take(Action.BACKUP):
                _take(book, restic, change.host, seen.container)
            for change in todo.take(Action.FORGET_BACKUPS):
                with alone_at(book, wanted.backup_timeout):
                    restic.forget(_old(restic.pieces(), seen.owner, wanted.archive_days))
                    restic.keep(change.things[0], book.cluster.name, wanted.mariadb_cluster_name)

    def verify(self, wanted: Params, seen: Backups) -> list[Check]:
        taken = seen.taken
        rows = [Check("here", "the backup", "complete", in_words(taken) if taken else "none", taken is not None)]
        if taken is not None:
            rows += [
                Check("here", "taken from", "a Synced member", taken.member, bool(taken.member)),
                Check("here", "size and time", "measured", _measured(taken), taken.size > 0),
                Check("here", "position", "known", taken.position or "unknown", bool(taken.position)),
            ]
        whole = sum(one.complete for one in seen.own)
        rows.append(equal("here", "restic's check of the repository", "no errors", seen.wrong or "no errors"))
        rows.append(Check("here", "snapshots of this cluster", "1 or more, all complete", f"{whole}, and {len(seen.own) - whole} not complete", whole == len(seen.own) > 0))  # fmt: skip
        if wanted.backup_password == "generate":  # noqa: S105
            rows.append(Check("here", "the password", "a copy elsewhere, where backups should outlive the cluster's folder", "generated, in the cluster's folder", True))  # fmt: skip
        return rows


take = Take()


def _old(pieces: Sequence[Piece], owner: str, days: int) -> list[str]:
    """List the pieces of the archive that are kept no longer."""
    kept = datetime.now(timezone.utc) - timedelta(days=days)
    return [one.id for one in pieces if one.owner == owner and (one.until or one.time) < kept]


def _measured(snapshot: Snapshot) -> str:
    rate = snapshot.size / 1e6 / max(snapshot.seconds, 0.1)
    return f"{snapshot.size / 1e6:,.1f} MB in {snapshot.seconds:.1f} s, {rate:,.0f} MB/s"


def command(container: str) -> Script:
    """Build the command that streams a member's data.

    Args:
        container: The member's.
    """
    # As the server's own user, whom it lets in by its socket. It writes nothing where it says that it would: it streams.
    return sh(
        "docker exec --user mysql @{container} mariadb-backup --defaults-file=/run/galera/my.cnf --backup --stream=mbstream "
        "--galera-info --user=mysql --target-dir=/var/lib/galera/tmp/backup",
        container=container,
    )


def _take(book: Book, restic: Restic, node: str, container: str) -> None:
    """Stream a backup into a new snapshot; it is called complete when its position is known."""
    params, began = book.params, time.monotonic()
    now = datetime.now(timezone.utc)
    about = Snapshot("", now, book.cluster.name, params.mariadb_cluster_name, member_name(params, node))
    reader = Reader()
    with restic.intake(about.cluster, tags_of(about), FILE) as intake:

        def sink(piece: bytes) -> None:
            try:
                reader.feed(piece)
            except Broken as error:
                raise _failed(node, str(error)) from None
            intake.write(piece)

        try:
            output = book.fleet[node].run(
                command(container), check=False, timeout_s=params.backup_timeout, flow=Flow(sink=sink)
            )
        except CommandFailed as error:
            raise _failed(node, error.seen or error.what) from None
        if not output.ok or "completed OK!" not in output.stderr:
            raise _failed(node, output.stderr)
        read = _whole(node, reader)
        intake.commit(params.backup_timeout)
    done = replace(
        about,
        position=read.position,
        gtid=read.gtid,
        server=read.server,
        size=read.size,
        seconds=time.monotonic() - began,
        complete=True,
    )
    with alone_at(book, params.backup_timeout):
        restic.retag(intake.id, tags_of(done))


def _whole(node: str, reader: Reader) -> About:
    try:
        return reader.end()
    except Broken as error:
        raise _failed(node, str(error)) from None


def _failed(node: str, said: str) -> WorldError:
    return WorldError(
        f"the backup of the member on {node} failed; there is no snapshot of it",
        where=node,
        wanted="mariadb-backup ends with: completed OK!",
        seen=mask(said.strip()[-_LAST_WORDS:]) or "nothing",
        next=f"swarmbook logs PARAMS {node}; then: swarmbook backup PARAMS",
        code=Code.BACKUP_FAILED,
    )
