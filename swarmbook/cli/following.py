"""`standby`: a cluster follows another one, and takes its place."""

from __future__ import annotations

from typing import Any

import click

from swarmbook.cli.common import example, require_machines, with_json, with_parameters
from swarmbook.cli.running import approvals, signing_key_option
from swarmbook.cli.session import Session
from swarmbook.params import Params

__all__ = ["standby"]


@click.command(epilog=example("swarmbook standby params/lab.yaml --take-over switch"))
@with_parameters
@click.option(
    "--take-over",
    "takeover",
    type=click.Choice(["switch", "lost"]),
    help="Take the writes: switch fences the other cluster first, so that nothing is lost; lost is for one that is gone.  [default: takeover, no]",
)
@approvals
@signing_key_option
@with_json
def standby(params: Params, takeover: Any, **options: Any) -> None:
    """Follow the cluster that standby_of names, or take its place (28).

    Without an option: the members get a certificate for the other cluster (07), and one of them replicates from it; all are fenced.
    It wants to have been restored from a backup of that cluster (swarmbook restore PARAMS --of CLUSTER).

    With --take-over you type PROMOTE. To go back, name this cluster in standby_of of the other one, and switch once more.
    """
    require_machines(params, "standby")
    params = params.model_copy(update={"takeover": takeover or params.takeover})
    Session(params, ["28"] if params.takeover != "no" else ["07", "28"], "standby", **options).run()
