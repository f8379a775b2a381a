"""`backup`, `archive` and `restore`: the whole database as a snapshot, what is committed after it, and back."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from swarmbook.base.errors import OutOfOrder
from swarmbook.cli.common import example, known_secrets, require_machines, say, with_json, with_parameters
from swarmbook.cli.running import COMMANDS, approvals, signing_key_option, with_services
from swarmbook.cli.session import Session
from swarmbook.model.checks import CheckTable
from swarmbook.params import Params, params_from_record

__all__ = ["archive", "backup", "restore"]

#: Less than a minute: cron starts the next one then, whether or not this one has ended.
_PATIENCE_S = 50


@click.command(epilog=example("swarmbook backup params/lab.yaml"))
@with_parameters
@click.option("--verify", is_flag=True, help="Restore it for a trial, and read every table.  [default: backup_verify]")
@signing_key_option
@with_json
def backup(params: Params, verify: bool, **options: Any) -> None:
    """Back the database up into a repository of restic's (26).

    From a member that is Synced and not the writer, through SSH straight into restic on this computer; encrypted there, checked,
    and kept as backup_keep says. If it fails, there is no snapshot.
    """
    require_machines(params, "backup")
    params = params.model_copy(update={"backup_verify": verify or params.backup_verify})
    Session(params, ["26"], "backup", **options).run()


@click.command(epilog=example("swarmbook archive params/lab.yaml"))
@with_parameters
@with_json
def archive(params: Params, as_json: bool) -> None:
    """Archive what was committed since the last time: the members' binary logs, into the repository of the backups.

    Quick, and without a run of its own: for a timer, every minute. What was committed since it ran last is on the members alone.
    Needs mariadb_binlog_days, and a backup. Exit code 1: a gap, behind which no moment can be had until the next backup.
    """
    from swarmbook.book.book import Book
    from swarmbook.phases.backup import archived

    require_machines(params, "archive")
    known_secrets(params)
    book = Book("26", params)
    try:
        rows = archived(book, _PATIENCE_S)
    finally:
        book.close()
    if not rows:
        raise OutOfOrder(
            "the members write no binary log, so there is nothing to archive",
            where=params.cluster,
            wanted="mariadb_binlog_days: 1 or more",
            next="set it; then: swarmbook run PARAMS --from 07",
        )
    table = CheckTable(rows)
    say(json.dumps(table.to_json(), indent=2) if as_json else table.to_text())
    sys.exit(0 if all(row.ok for row in rows) else 1)


@click.command(epilog=example("swarmbook restore params/lab.yaml --to '2026-11-28 14:03:07'"))
@with_parameters
@click.option("--snapshot", metavar="ID", help="The snapshot.  [default: restore_snapshot, the latest]")
@click.option(
    "--to",
    "moment",
    metavar="MOMENT",
    help="The moment: a time, UTC, as 'YYYY-MM-DD HH:MM:SS', or a GTID, which is the last that is in it.  [default: restore_to, that of the snapshot]",
)
@click.option("--of", "owner", metavar="CLUSTER", help="The cluster that the snapshot is of, where it is another one.")
@approvals
@signing_key_option
@with_json
def restore(params: Params, snapshot: str | None, moment: str | None, owner: str | None, **options: Any) -> None:
    """Put a backup in the place of the database (27, then 07 and 08).

    The snapshot is fetched and prepared beside the data first; then the members are stopped, the data of each is set aside, and
    the cluster is founded from the restored one. Every database that is replaced is listed, and you type RESTORE.

    With --to it is the last backup before that moment, and the archived binary logs are replayed on it up to there.
    """
    require_machines(params, "restore")
    given = {"restore_snapshot": snapshot, "restore_to": moment, "restore_cluster": owner}
    values = {**params.model_dump(), **{key: value for key, value in given.items() if value}}
    params = params_from_record(values, "the command line")
    Session(params, with_services(COMMANDS["restore"], params), "restore", **options).run()
