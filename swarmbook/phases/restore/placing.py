"""What was fetched becomes the datadir, with a history of its own."""

from __future__ import annotations

import uuid

from swarmbook.access.commands import sh
from swarmbook.book.book import Book
from swarmbook.model.moments import read_moment
from swarmbook.model.snapshots import Snapshot
from swarmbook.phases.support.member_data import ORIGIN, RESTORED, data_folder
from swarmbook.phases.support.unpacking import MYSQL

__all__ = ["NEW", "REACHED", "mark_of", "put_in_place"]

#: Beside the datadir: what becomes the next one.
NEW = "restore.new"
#: In a data folder: how far binary logs were replayed on what is in place, for a person.
REACHED = "restored.to"
#: A history of its own: see the notebook.
_STATE = "# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   0\nsafe_to_bootstrap: 1\n"


def mark_of(snapshot: Snapshot, moment: str) -> str:
    """Return the word that tells what is in place: the snapshot, and the moment up to which it was brought.

    Args:
        snapshot: What was fetched.
        moment: The parameter ``restore_to``.
    """
    return f"{snapshot.short}~{read_moment(moment).word}" if moment else snapshot.id


def put_in_place(book: Book, node: str, mark: str, reached: str, gtid: str) -> None:
    """Make what was fetched the datadir, with a new history, and mark it for 07.

    Args:
        book: The open book.
        node: The node.
        mark: What was fetched: see :func:`mark_of`.
        reached: How far binary logs were replayed on it; nothing where none were.
        gtid: GTIDs of the last transactions in it, behind which a standby goes on; nothing where they are not known.
    """
    history = str(uuid.uuid1())
    # The mark last: without it the data is no one's, and the next run of 27 begins again.
    book.fleet[node].run(
        sh(
            """cd @{folder} && rm -f @{new}/mariadb_backup_* @{new}/xtrabackup_* @{new}/donor_galera_info @{new}/backup-my.cnf @{new}/binlog.*
printf %s @{state} > @{new}/grastate.dat && chown @{user}:@{user} @{new}/grastate.dat && chmod 0660 @{new}/grastate.dat || exit 1
[ ! -d data ] || rmdir data || exit 1
rm -f bootstrap recover recover.used restored.used @{to}
[ -z @{reached} ] || echo @{reached} > @{to}
echo @{gtid} > @{origin}
mv -T @{new} data && echo @{mark} > restored.new && sync -f restored.new && mv -T restored.new @{restored}""",
            folder=data_folder(book.params),
            new=NEW,
            state=_STATE.format(uuid=history),
            user=MYSQL,
            mark=f"{mark} {history}:0",
            reached=reached,
            to=REACHED,
            gtid=gtid,
            origin=ORIGIN,
            restored=RESTORED,
        )
    )
