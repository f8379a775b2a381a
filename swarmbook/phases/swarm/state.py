"""The swarm as nodes and managers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.access.docker_types import SwarmNode
from swarmbook.base.errors import ForeignData, OutOfOrder, WorldError
from swarmbook.base.words import subject
from swarmbook.book.book import Book
from swarmbook.model.health import Role, SwarmState
from swarmbook.params import Params
from swarmbook.phases.swarm.probe import LISTING, LOCAL, Local

__all__ = ["IN_RAFT", "Swarm", "gone", "late", "observe"]

#: A manager that takes part in raft.
IN_RAFT = ("leader", "reachable")


@dataclass(frozen=True)
class Swarm:
    """What each node says about itself, and what the managers say about all.

    Args:
        local: By node.
        nodes: By the swarm's node id.
        id: The swarm's id, or nothing when there is none.
    """

    local: Mapping[str, Local]
    nodes: Mapping[str, SwarmNode] = field(default_factory=dict)
    id: str = ""

    def node(self, name: str) -> SwarmNode | None:
        """Return a node's entry, by what the node itself says its id is."""
        return self.nodes.get(self.local[name].id)


def observe(book: Book) -> Swarm:
    """Ask every node, then the first manager that answers.

    Raises:
        OutOfOrder: No engine answers on a node.
        ForeignData: A node belongs to another swarm.
        WorldError: The swarm has no leader.
    """
    local = book.fleet.each(lambda host: host.ask(LOCAL))
    for name, seen in local.items():
        if not seen.answers:
            raise OutOfOrder(
                f"run 03 first: no engine answers on {name}",
                where=name,
                wanted="a running Docker Engine",
                seen=seen.error or "nothing",
                next="swarmbook run PARAMS --from 03",
            )
    manager = next((name for name, seen in local.items() if seen.manager), None)
    if manager is None:
        stranded = [name for name, seen in local.items() if seen.state is not SwarmState.INACTIVE]
        if stranded:
            raise _stranded(stranded, local)
        return Swarm(local)
    listing = book.fleet[manager].ask(LISTING)
    if isinstance(listing, str):
        raise WorldError(
            "the swarm has no leader: too many managers are gone",
            where=manager,
            wanted="a majority of the managers",
            seen=listing,
            next="start the managers that are down: swarmbook run PARAMS --only 01; then: swarmbook status PARAMS",
        )
    nodes = {node.id: node for node in listing}
    foreign = [name for name, seen in local.items() if seen.state is SwarmState.ACTIVE and seen.id not in nodes]
    if foreign:
        raise ForeignData(
            f"{subject(foreign, 'belongs', 'belong')} to another swarm",
            where=", ".join(foreign),
            wanted=f"the swarm of {manager}",
            seen=", ".join(f"{name}: node id {local[name].id}" for name in foreign),
            next=f"if that swarm may go: swarmbook ssh {foreign[0]} docker swarm leave --force",
        )
    return Swarm(local, nodes, local[manager].swarm)


def _stranded(names: list[str], local: Mapping[str, Local]) -> WorldError:
    """Build the error for nodes that are in a swarm, or were, none of which manages it."""
    seen = "\n".join(
        f"{name}: {local[name].state}" + (f": {local[name].error}" if local[name].error else "") for name in names
    )
    broken = [name for name in names if local[name].state not in (SwarmState.ACTIVE, SwarmState.PENDING)]
    if (
        broken
    ):  # the engine's own word: an expired certificate, a locked swarm; leaving would destroy what can be repaired
        return WorldError(
            f"the engine of {', '.join(broken)} cannot take part in its swarm",
            where=", ".join(broken),
            wanted="an engine whose swarm state is active, or inactive",
            seen=seen,
            next=f"read what the engine says above; its log: swarmbook ssh {broken[0]} journalctl -u docker -n 50",
        )
    return ForeignData(
        f"{subject(names, 'belongs', 'belong')} to a swarm none of whose managers is among the nodes",
        where=", ".join(names),
        wanted="no swarm, or one with a manager here",
        seen=seen,
        next=f"if that swarm is lost: swarmbook ssh {names[0]} docker swarm leave --force",
    )


def late(node: SwarmNode) -> bool:
    """Tell whether the swarm does not find a node ready, or a manager takes no part in raft."""
    return node.state != "ready" or (node.role is Role.MANAGER and node.manager not in IN_RAFT)


def gone(params: Params, node: SwarmNode) -> bool:
    """Tell whether a node is one that the run goes on without."""
    return (node.labels.get("name") or node.hostname) in params.without
