"""How far the cluster reaches: which nodes, managers, Consul agents and members there are, named or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from swarmbook.access.commands import sh
from swarmbook.access.docker_types import SwarmNode
from swarmbook.access.probe import Facts, Probe, name
from swarmbook.book.book import Book
from swarmbook.machines.providers import provider_for
from swarmbook.phases.galera.members import Member, found_on
from swarmbook.phases.galera.stack import own_secrets
from swarmbook.phases.support import stack
from swarmbook.phases.support.consul_api import api, steadily
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.swarm.state import listed

__all__ = ["Extent", "extent_of", "listing", "raft_peers"]


@dataclass(frozen=True)
class Extent:
    """What there is, of nodes that the parameters name and of those that they name no longer.

    Args:
        leaving: Nodes of the inventory that the parameters name no longer.
        swarm: The swarm's entries, by the nodes' names.
        members: Those that have a service, by node; None where its machine is gone.
        strangers: By node, stacks of other databases that have a member there.
        peers: Nodes with a Consul server in raft.
        parts: Of the machines of leaving nodes: node and thing.
        secrets: The swarm's secrets that only members of no longer named nodes use.
        gone: Leaving nodes whose machine is not there any more.
    """

    leaving: tuple[str, ...] = ()
    swarm: Mapping[str, SwarmNode] = field(default_factory=dict)
    members: Mapping[str, Member | None] = field(default_factory=dict)
    strangers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    peers: frozenset[str] = frozenset()
    parts: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def _stacks(node: str, own: str) -> Probe[tuple[str, ...]]:
    """Ask for the stacks of other databases that run a member on a node: its service is STACK_NODE."""

    def read(facts: Facts) -> tuple[str, ...]:
        services = {name(line) for line in facts["services"] if line}
        return tuple(
            sorted(s.removesuffix(f"_{node}") for s in services if s.endswith(f"_{node}") and s != f"{own}_{node}")
        )

    script = sh("docker ps --format '{{.Label \"com.docker.swarm.service.name\"}}' | sort -u | as services")
    return Probe(script, read)


def listing(book: Book, manager: str) -> dict[str, SwarmNode]:
    """Return the swarm's entries by the nodes' names.

    Args:
        book: The open book.
        manager: Where to ask.

    Raises:
        WorldError: The swarm has no leader.
    """
    return {node.name: node for node in listed(book, manager)}


def raft_peers(book: Book, name: str) -> dict[str, bool]:
    """Return the nodes with a Consul server in raft, and whether each leads.

    Args:
        book: The open book.
        name: The node whose agent is asked.
    """
    consul = api(book, name)
    look = partial(consul.get, "operator/raft/configuration")
    found = steadily(book, consul, "Consul says who is in raft", look)["Servers"]
    return {str(peer["Node"]): peer["Leader"] is True for peer in found}


def extent_of(book: Book) -> Extent:
    """Ask what there is.

    Args:
        book: A book on all nodes of the inventory that stay and that leave.

    Raises:
        OutOfOrder: There is no swarm.
        HostUnreachable: A node that has a machine does not answer.
    """
    leaving = tuple(book.leaving)
    provider = provider_for(book)
    parts = tuple(provider.parts(leaving))
    states = provider.states() if leaving else {}
    gone = tuple(name for name in leaving if name not in states and "" not in states)
    stay = [node.name for node in book.nodes]
    whole = book.over([*stay, *(name for name in leaving if name not in gone)])
    try:
        manager = require_swarm(book)
        swarm = listing(book, manager)
        cluster = book.params.mariadb_cluster_name
        specs = stack.specs(book.engine(manager), cluster)
        asked = [name for name in specs if name in whole.params.nodes]
        members = whole.fleet.each(
            lambda host: host.ask(found_on(book.params, host.name, spec=specs[host.name], port=False)), asked
        )
        strangers = whole.fleet.each(
            lambda host: host.ask(_stacks(host.name, cluster)), [n for n in leaving if n not in gone]
        )
        server = next((n for n in stay if n in swarm and swarm[n].labels.get("consul") == "server"), None)
        wanted = {*book.params.members(), *book.params.without}
        stale = frozenset[str]().union(*(own_secrets(book.params, name) for name in {*leaving, *specs} - wanted))
        return Extent(
            leaving,
            swarm,
            {name: members.get(name) for name in specs},
            {name: found for name, found in strangers.items() if found},
            frozenset(raft_peers(book, server)) if server is not None else frozenset(),
            parts,
            tuple(sorted(s for s in book.engine(manager).secrets() if stack.secret_base(s) in stale)),
            gone,
        )
    finally:
        whole.close()
