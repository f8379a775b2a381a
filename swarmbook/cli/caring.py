"""`drill`, `recover`, `replace`, `roll`, `scale`: what is done to a cluster that runs, and goes on running."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click

from swarmbook.cli.common import example, require_machines, with_json, with_parameters
from swarmbook.cli.running import COMMANDS, approvals, signing_key_option, with_services
from swarmbook.cli.session import Session
from swarmbook.params import Params, load_params

__all__ = ["drill", "recover", "replace", "roll", "scale"]

_FAULTS = get_args(Params.model_fields["drill_fault"].annotation)


def _asks(command: Callable[..., Any]) -> Callable[..., Any]:
    return with_parameters(approvals(signing_key_option(with_json(command))))


@click.command(epilog=example("swarmbook drill params/lab.yaml --fault power"))
@with_parameters
@click.option("--fault", type=click.Choice(_FAULTS), help="What is done.  [default: drill_fault]")
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    help="Draws when it begins, whom it hits and how long it lasts.  [default: drill_seed]",
)
@signing_key_option
@with_json
def drill(params: Params, fault: str | None, seed: int | None, **options: Any) -> None:
    """Do a fault to a lab while an application works, and account for every commit (30).

    It needs the endpoint (swarmbook run PARAMS --only 20). Where it does no harm is what it shows: each commit that was acknowledged
    is there once, on every member, and all members serve again by themselves. docs/what-happens-when.md has what was seen of each.
    """
    from swarmbook.phases.support.preconditions import labs_only

    labs_only(params)
    require_machines(params, "drill")
    given = {"drill_fault": fault, "drill_seed": seed}
    wanted = {key: value for key, value in given.items() if value is not None}
    Session(params.model_copy(update=wanted), ["30"], "drill", **options).run()


@click.command(epilog=example("swarmbook recover params/lab.yaml"))
@_asks
@click.option("--member", metavar="NODE", default="", help="The member that goes on, chosen by hand.")
def recover(params: Params, member: str, **options: Any) -> None:
    """Bring the database back after an outage of all members (25).

    Asks every member how far it got, and lets the one go on that certainly has everything; the others join it. Where that is
    not certain, nothing is done, and you are shown what each choice would lose: --member chooses, and wants you to type LOSE
    and the number of transactions.
    """
    require_machines(params, "recover")
    Session(params.model_copy(update={"recover_member": member}), ["25"], "recover", **options).run()


@click.command(epilog=example("swarmbook replace params/lab.yaml sw3"))
@_asks
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
def replace(params: Params, nodes: tuple[str, ...], **options: Any) -> None:
    """Replace the machines of nodes by new ones of the same names (23, then 01 to 08).

    For a machine that is gone for good, or should be. What is left of it is removed first, which asks; your own hosts are not
    touched: give the new one's address in hosts before. The others go on, and the new member gets its data from them.
    """
    require_machines(params, "replace")
    given = params.model_copy(update={"replace": list(nodes)})
    Session(given, with_services(COMMANDS["replace"], params), "replace", **options).run()


@click.command(epilog=example("swarmbook roll params/lab.yaml system"))
@click.argument("params", type=click.Path(dir_okay=False), metavar="PARAMS")
@click.argument("what", type=click.Choice(["members", "engines", "system"]))
@signing_key_option
@with_json
def roll(params: str, what: Any, **options: Any) -> None:
    """Restart or renew node after node, without an outage (22).

    WHAT is members (each restarted), engines (each restarted), or system (each node drained, its packages brought up to date,
    rebooted, and taken back). Before each node's turn a gate: all members Synced and at ease, all nodes ready, raft whole. A
    gate that does not open stops it; the same command goes on from there.
    """
    given = load_params(params).model_copy(update={"roll": what})
    require_machines(given, "roll")
    Session(given, ["22"], "roll", **options).run()


@click.command(epilog=example("swarmbook scale params/lab.yaml"))
@_asks
def scale(params: Params, **options: Any) -> None:
    """Make the running cluster as large as the parameters say: smaller first (21), then 01 to 08.

    Edit nodes, swarm_managers or galera_nodes before. Nodes that are named no longer leave one after the other: the member,
    Consul's agent, the manager, the node; their machines are removed last, which asks. Your own hosts are only let go.
    """
    require_machines(params, "scale")
    Session(params, with_services(COMMANDS["scale"], params), "scale", **options).run()
