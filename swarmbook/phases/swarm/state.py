"""The swarm as nodes and managers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.access.docker_types import SwarmNode
from swarmbook.base.codes import Code
from swarmbook.base.errors import ForeignData, OutOfOrder, WorldError
from swarmbook.base.words import subject
from swarmbook.book.book import Book
from swarmbook.model.health import Role, SwarmState
from swarmbook.params import Params
from swarmbook.phases.support.autolock import key_is_kept
from swarmbook.phases.swarm.probe import LISTING, LOCAL, Local

__all__ = ["IN_RAFT", "Swarm", "gone", "late", "listed", "observe"]

#: A manager that takes part in raft.
IN_RAFT = ("leader", "reachable")
#: In a swarm, on the way into one, or in none; every other word of an engine is a fault.
_SOUND = (SwarmState.ACTIVE, SwarmState.PENDING, SwarmState.INACTIVE)


@dataclass(frozen=True)
class Swarm:
    """What each node says about itself, and what the managers say about all.

    Args:
        local: By node.
        nodes: By the swarm's node id.
        id: The swarm's id, or nothing when there is none.
        autolock: Whether managers are locked when their engine starts.
        heartbeat_s: Seconds in which each node reports to the managers.
        key_is_kept: Whether the cluster's folder has the key that unlocks them.
    """

    local: Mapping[str, Local]
    nodes: Mapping[str, SwarmNode] = field(default_factory=dict)
    id: str = ""
    autolock: bool = False
    heartbeat_s: float = 0
    key_is_kept: bool = False

    def node(self, name: str) -> SwarmNode | None:
        """Return a node's entry, by what the node itself says its id is."""
        return self.nodes.get(self.local[name].id)


def observe(book: Book) -> Swarm:
    """Ask every node, then the first manager that answers.

    Raises:
        OutOfOrder: No engine answers on a node.
        ForeignData: A node belongs to another swarm.
        WorldError: The swarm has no leader, or an engine takes no part in it: it is locked, or its certificate has expired.
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
    broken = [name for name, seen in local.items() if seen.state not in _SOUND]
    if broken:
        raise _broken(broken, local)
    manager = next((name for name, seen in local.items() if seen.manager), None)
    if manager is None:
        stranded = [name for name, seen in local.items() if seen.state is not SwarmState.INACTIVE]
        if stranded:
            raise ForeignData(
                f"{subject(stranded, 'belongs', 'belong')} to a swarm none of whose managers is among the nodes",
                where=", ".join(stranded),
                wanted="no swarm, or one with a manager here",
                seen=_words(stranded, local),
                next=f"if that swarm is lost: swarmbook ssh {stranded[0]} docker swarm leave --force",
            )
        return Swarm(local)
    nodes = {node.id: node for node in listed(book, manager)}
    foreign = [name for name, seen in local.items() if seen.state is SwarmState.ACTIVE and seen.id not in nodes]
    if foreign:
        raise ForeignData(
            f"{subject(foreign, 'belongs', 'belong')} to another swarm",
            where=", ".join(foreign),
            wanted=f"the swarm of {manager}",
            seen=", ".join(f"{name}: node id {local[name].id}" for name in foreign),
            next=f"if that swarm may go: swarmbook ssh {foreign[0]} docker swarm leave --force",
        )
    seen = local[manager]
    key = seen.autolock and key_is_kept(book, manager)
    return Swarm(local, nodes, seen.swarm, seen.autolock, seen.heartbeat_s, key)


def listed(book: Book, manager: str) -> tuple[SwarmNode, ...]:
    """Return the swarm's nodes as a manager lists them.

    Args:
        book: The open book.
        manager: The manager's node.

    Raises:
        WorldError: The swarm has no leader.
    """
    found = book.fleet[manager].ask(LISTING)
    if isinstance(found, str):
        raise WorldError(
            "the swarm has no leader: too many managers are gone",
            where=manager,
            wanted="a majority of the managers",
            seen=found,
            next="start the managers that are down: swarmbook run PARAMS --only 01; then: swarmbook status PARAMS",
        )
    return found


def _broken(names: list[str], local: Mapping[str, Local]) -> WorldError:
    """Build the error for nodes that are in a swarm and take no part: to leave it would destroy what can be repaired."""
    locked = all(local[name].state is SwarmState.LOCKED for name in names)
    return WorldError(
        f"the engine of {', '.join(names)} cannot take part in its swarm",
        where=", ".join(names),
        wanted="an engine whose swarm state is active, or inactive",
        seen=_words(names, local),
        next="unlock it: swarmbook run PARAMS --from 03"
        if locked
        else f"read what the engine says above; its log: swarmbook ssh {names[0]} journalctl -u docker -n 50",
        code=Code.SWARM_LOCKED if locked else None,
    )


def _words(names: list[str], local: Mapping[str, Local]) -> str:
    """Quote what engines say of their part."""
    return "\n".join(
        f"{name}: {local[name].state}" + (f": {local[name].error}" if local[name].error else "") for name in names
    )


def late(node: SwarmNode) -> bool:
    """Tell whether the swarm does not find a node ready, or a manager takes no part in raft."""
    return node.state != "ready" or (node.role is Role.MANAGER and node.manager not in IN_RAFT)


def gone(params: Params, node: SwarmNode) -> bool:
    """Tell whether a node is one that the run goes on without."""
    return node.name in params.without
