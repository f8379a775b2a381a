"""What was fetched becomes the datadir, with a history of its own."""

from __future__ import annotations

import uuid

from swarmbook.access.commands import sh
from swarmbook.book.book import Book
from swarmbook.model.snapshots import Snapshot
from swarmbook.phases.support.member_data import RESTORED, data_folder
from swarmbook.phases.support.unpacking import MYSQL

__all__ = ["NEW", "put_in_place"]

#: Beside the datadir: what becomes the next one.
NEW = "restore.new"
#: A history of its own: see the notebook.
_STATE = "# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   0\nsafe_to_bootstrap: 1\n"


def put_in_place(book: Book, node: str, snapshot: Snapshot) -> None:
    """Make what was fetched the datadir, with a new history, and mark it for 07.

    Args:
        book: The open book.
        node: The node.
        snapshot: What was fetched.
    """
    history = str(uuid.uuid1())
    # The mark last: without it the data is no one's, and the next run of 27 begins again.
    book.fleet[node].run(
        sh(
            """cd @{folder} && rm -f @{new}/mariadb_backup_* @{new}/xtrabackup_* @{new}/donor_galera_info @{new}/backup-my.cnf
printf %s @{state} > @{new}/grastate.dat && chown @{user}:@{user} @{new}/grastate.dat && chmod 0660 @{new}/grastate.dat || exit 1
[ ! -d data ] || rmdir data || exit 1
rm -f bootstrap recover recover.used restored.used
mv -T @{new} data && echo @{mark} > restored.new && sync -f restored.new && mv -T restored.new @{restored}""",
            folder=data_folder(book.params),
            new=NEW,
            state=_STATE.format(uuid=history),
            user=MYSQL,
            mark=f"{snapshot.id} {history}:0",
            restored=RESTORED,
        )
    )
