"""What several commands share: the argument PARAMS, ``--json``, ``--cluster``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder
from swarmbook.base.plain import plain
from swarmbook.model.phases import PHASES
from swarmbook.params import Params, load_params
from swarmbook.params.without import left_out

__all__ = [
    "can_leave_out",
    "example",
    "known_secrets",
    "open_book",
    "require_machines",
    "say",
    "with_03",
    "with_json",
    "with_named_cluster",
    "with_parameters",
    "without_option",
]


def example(text: str) -> str:
    """Format a command's epilog."""
    return f"\b\nExample:\n  {text}"


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text: all that a command prints goes through here, since much of it is what hosts and records say.

    Args:
        text: Of any origin; nothing in it moves the cursor or sets a title.
        err: To standard error.
        nl: With a newline at its end.
    """
    click.echo(plain(text), err=err, nl=nl)


def with_named_cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument PARAMS to a command that destroys: the file has to name the cluster."""
    return _with_parameters(command, names_cluster=True)


def with_parameters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument PARAMS, read and checked before anything else."""
    return _with_parameters(command, names_cluster=False)


def _with_parameters(command: Callable[..., Any], *, names_cluster: bool) -> Callable[..., Any]:
    @click.argument("params", type=click.Path(dir_okay=False), metavar="PARAMS")
    @wraps(command)
    def wrapped(params: str, **options: Any) -> Any:
        return command(params=load_params(params, names_cluster=names_cluster), **options)

    return wrapped


without_option = click.option(
    "--without",
    multiple=True,
    metavar="NODE",
    help="Go on without this node, which is gone; what is on it stays. Repeatable.",
)


def require_machines(params: Params, verb: str) -> None:
    """Refuse a command for what stands where nothing does.

    Args:
        params: The parameters.
        verb: What the command would do.

    Raises:
        OutOfOrder: The cluster has no machines.
    """
    from swarmbook.access.cluster import Cluster

    if not Cluster(params.cluster).exists():
        raise OutOfOrder(
            f"there is nothing to {verb}: the cluster has no machines",
            where=params.cluster,
            next="swarmbook run PARAMS",
            code=Code.CLUSTER_NOT_THERE,
        )


def with_03(numbers: list[str], params: Params) -> list[str]:
    """Return the numbers of a run that leaves out nodes: 03 has the swarm count on them no longer, before anything is replaced.

    Args:
        numbers: Of the notebooks.
        params: The parameters; 01 is left out, since machines are taken as they are.
    """
    if not params.without:
        return numbers
    left = [number for number in numbers if number not in ("01", "03")]
    if all(PHASES[number].verifies for number in left) and "03" not in numbers:
        return left
    first = [number for number in left if number in ("02", "29")]
    return [*first, "03", *(number for number in left if number not in first)]


def can_leave_out(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--without`` to a command that has parameters."""

    @without_option
    @wraps(command)
    def wrapped(params: Params, without: tuple[str, ...], **options: Any) -> Any:
        return command(params=left_out(params, without) if without else params, **options)

    return wrapped


with_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def open_book(params: Params) -> Any:
    """Open the book on these parameters, in no phase."""
    from swarmbook.book.book import Book

    return Book("", params)


def known_secrets(params: Params) -> None:
    """Register the secrets that the parameters refer to, so that they are masked.

    Raises:
        UsageError: One leads nowhere: its value could neither be used nor masked. Or it is one that may not be a secret.
    """
    from swarmbook.access.cluster import Cluster
    from swarmbook.base import secrets
    from swarmbook.model.names import keep_names

    makers = {
        "consul_gossip_key": secrets.gossip_key,
        "consul_management_token": secrets.token,
        "mariadb_password": secrets.password,
        "backup_password": secrets.password,
    }
    keep_names(params.names())
    for name, make in makers.items():
        reference = getattr(params, name)
        if reference != "generate":
            secrets.resolve(name, reference, Cluster(params.cluster).folder / "secrets", make)
