"""How the swarm is, for a person and for a check."""

from __future__ import annotations

from swarmbook.access.docker_types import SwarmNode
from swarmbook.book.book import Book
from swarmbook.book.display import show_picture
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.model.health import Role
from swarmbook.params import Params
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.swarm.state import IN_RAFT, Swarm, gone, observe
from swarmbook.show.drawing import Card, Part, topology

__all__ = ["nodes_table", "swarm_checks"]


def swarm_checks(params: Params, seen: Swarm) -> list[Check]:
    """Check every node's role and state, one leader, and no node too many."""
    rows = []
    managers = params.managers()
    for name in params.nodes:
        role = "manager" if name in managers else "worker"
        node = seen.node(name)
        if node is None:
            rows.append(equal(name, "swarm", role, seen.local[name].state))
            continue
        rows += [
            equal(name, "role", role, node.role),
            equal(name, "state", "ready, active", f"{node.state}, {node.availability}"),
        ]
        if role == "manager":
            fine = node.manager in IN_RAFT
            rows.append(Check(name, "manager status", "leader or reachable", node.manager, fine))
    leaders = [node.hostname for node in seen.nodes.values() if node.manager == "leader"]
    rows.append(equal("cluster", "leaders", 1, len(leaders)))
    here = [node for node in seen.nodes.values() if not gone(params, node)]
    rows.append(equal("cluster", "nodes in the swarm", len(params.nodes), len(here)))
    if params.swarm_autolock:
        key = "" if seen.key_is_kept else ", and its key is not here"
        rows.append(equal("cluster", "autolock", "on", f"on{key}" if seen.autolock else "off"))
    return rows


def _card(name: str, node: SwarmNode | None) -> Card:
    if node is None:
        return Card(name, (Part("swarm", "not in it", "bad"),))
    fine = node.manager in IN_RAFT or node.role is Role.WORKER
    return Card(
        name,
        (
            Part("state", node.state, "ok" if node.state == "ready" else "bad"),
            Part("takes tasks", node.availability, "ok" if node.availability == "active" else "bad"),
            Part("role", node.role.value, "ok"),
            Part("raft", node.manager or "no part", "ok" if fine else "bad"),
        ),
    )


@look()
def nodes_table(book: Book) -> CheckTable:
    """Show every node's role, state, manager status, engine and labels."""
    require_swarm(book)
    seen = observe(book)
    rows = swarm_checks(book.params, seen)
    engines = sorted({node.engine for node in seen.nodes.values()})
    cards = [_card(name, seen.node(name)) for name in book.params.nodes]
    show_picture(topology(cards, "The swarm"), "the swarm: the table below")
    rows.append(Check("cluster", "engine versions", "one", ", ".join(engines), len(engines) == 1))
    return CheckTable(rows)
