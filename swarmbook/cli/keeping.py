"""`backup` and `restore`: the whole database as a snapshot, and back."""

from __future__ import annotations

from typing import Any

import click

from swarmbook.cli.common import example, require_machines, with_json, with_parameters
from swarmbook.cli.running import COMMANDS, approvals, signing_key_option, with_services
from swarmbook.cli.session import Session
from swarmbook.params import Params, params_from_record

__all__ = ["backup", "restore"]


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


@click.command(epilog=example("swarmbook restore params/lab.yaml --snapshot 1a2b3c4d"))
@with_parameters
@click.option("--snapshot", metavar="ID", help="The snapshot.  [default: restore_snapshot, the latest]")
@click.option("--of", "owner", metavar="CLUSTER", help="The cluster that the snapshot is of, where it is another one.")
@approvals
@signing_key_option
@with_json
def restore(params: Params, snapshot: str | None, owner: str | None, **options: Any) -> None:
    """Put a backup in the place of the database (27, then 07 and 08).

    The snapshot is fetched and prepared beside the data first; then the members are stopped, the data of each is set aside, and
    the cluster is founded from the restored one. Every database that is replaced is listed, and you type RESTORE.
    """
    require_machines(params, "restore")
    given = {"restore_snapshot": snapshot, "restore_cluster": owner}
    values = {**params.model_dump(), **{key: value for key, value in given.items() if value}}
    params = params_from_record(values, "the command line")
    Session(params, with_services(COMMANDS["restore"], params), "restore", **options).run()
