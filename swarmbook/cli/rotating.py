"""`rotate`: secrets and authorities replaced, and brought to where they are used."""

from __future__ import annotations

from typing import Any

import click

from swarmbook.cli.common import can_leave_out, example, open_book, require_machines, say, with_03, with_parameters
from swarmbook.cli.running import approvals, signing_key_option
from swarmbook.cli.session import Session
from swarmbook.model.phases import ROTATIONS, rotation_chapters
from swarmbook.params import Params

__all__ = ["rotate"]


@click.command(epilog=example("swarmbook rotate params/lab.yaml consul gossip-key"))
@with_parameters
@can_leave_out
@click.argument("what", nargs=-1, type=click.Choice(["all", *ROTATIONS]), metavar="WHAT...", required=True)
@approvals
@signing_key_option
def rotate(params: Params, what: tuple[str, ...], **options: Any) -> None:
    """Replace secrets and authorities: 29 makes new ones, and the notebooks behind it bring them to the nodes.

    WHAT is all, or any of: engine, consul, replication, database, swarm (certificate authorities), gossip-key,
    consul-tokens, password (mariadb_user's), watch-password (the exporters'), join-tokens, unlock-key. No client is refused meanwhile. The database's CA and the
    password take a second command: until then the earlier one holds as well, so that clients can be given the new one.
    If a rotation breaks off, `swarmbook run` goes on.
    """
    from swarmbook.phases.rotation import two_stages

    require_machines(params, "rotate")
    names = list(ROTATIONS) if "all" in what else [name for name in ROTATIONS if name in what]
    given = params.model_copy(update={"rotate": ["all"] if "all" in what else names})
    try:
        Session(
            given,
            list(dict.fromkeys([*with_03(rotation_chapters(names), params), *(["24"] if params.with_watch else [])])),
            "rotate",
            **options,
        ).run()
    finally:
        for line in two_stages(open_book(given)):
            say(f"{line}; then: swarmbook rotate PARAMS {line.partition(':')[0]}", err=True)
