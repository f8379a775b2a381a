"""Parameters of a cluster of which some nodes are gone for now, or for good."""

from __future__ import annotations

from collections.abc import Iterable

from swarmbook.base.errors import UsageError
from swarmbook.base.words import subject
from swarmbook.params.schema import Params

__all__ = ["left_out"]


def left_out(params: Params, names: Iterable[str]) -> Params:
    """Return the parameters of what is left when some nodes are taken out.

    Who of the others is a manager, or carries a member, stays as it is.

    Example:
        >>> left_out(Params(nodes=["sw1", "sw2", "sw3"]), ["sw1"]).managers()
        ['sw2', 'sw3']

    Args:
        params: The parameters of the whole cluster.
        names: Of nodes.

    Raises:
        UsageError: One is no node of the cluster; or no node, no manager or no member would be left.
    """
    gone = list(dict.fromkeys(names))
    if strangers := [name for name in gone if name not in params.nodes]:
        raise UsageError(
            f"{subject(strangers, 'is', 'are')} no node of the cluster",
            where="--without",
            wanted=", ".join(params.nodes),
            next="name one of these",
        )
    managers = [name for name in params.managers() if name not in gone]
    members = [name for name in params.members() if name not in gone]
    if not managers or not members:
        raise UsageError(
            f"no {'member' if managers else 'manager'} would be left",
            where=f"--without {' --without '.join(gone)}",
            wanted=f"one of {', '.join(params.members() if managers else params.managers())}",
            next="leave out fewer nodes",
        )
    return params.model_copy(
        update={
            "nodes": [name for name in params.nodes if name not in gone],
            "swarm_managers": len(managers),
            "galera_nodes": members if params.galera_nodes else [],
            "without": gone,
        }
    )
