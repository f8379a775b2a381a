"""The gate before each node's turn: nothing goes while something else is not whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarmbook.access.commands import sh
from swarmbook.access.probe import Probe, line
from swarmbook.base.codes import Code
from swarmbook.base.errors import WaitTimeout
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.model.health import Role
from swarmbook.phases.consul.agents import wait_for_agents
from swarmbook.phases.galera.ease import Ease
from swarmbook.phases.support import stack
from swarmbook.phases.support.consul_api import api
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.swarm.state import late, observe

__all__ = ["pass_gate", "swarm_manager"]


def _short(cluster: str) -> Probe[list[str]]:
    """Ask which services lack a task: also those of another database, whose member may be the one too many."""
    script = sh(
        "docker service ls --filter @{label} --format '{{.Replicas}} {{.Name}}' | as services",
        label=f"label={stack.CLUSTER_LABEL}={cluster}",
    )

    def read(facts: Mapping[str, Sequence[str]]) -> list[str]:
        found = [line(each) for each in facts["services"] if each]
        return [each for each in found if len(set(each.split()[0].split("/"))) > 1]

    return Probe(script, read)


def pass_gate(book: Book, before: str) -> None:
    """Wait until every node of the swarm is ready, every service whole, all members Synced and at ease, and raft whole, Consul's too.

    Args:
        book: The open book.
        before: Whose turn it is, for the message.

    Raises:
        WaitTimeout: It does not open in time; carries the last thing seen.
    """
    manager = require_swarm(book)
    ease = Ease(book, members := book.params.members(), len(members))

    def look() -> tuple[bool, str]:
        behind = [
            f"{node.hostname}: {node.state} {node.availability}"
            for node in observe(book).nodes.values()
            if late(node) or node.availability != "active"
        ]
        if behind:
            return False, "; ".join(behind)
        short = book.fleet[manager].ask(_short(book.cluster.name), quiet=True)
        return (False, "; ".join(short)) if short else ease.look()

    try:
        wait_for(
            "nodes ready, members Synced and at ease",
            look,
            timeout_s=book.params.wait_timeout,
            where=before,
            next="swarmbook status PARAMS",
            first_s=0.5,
        )
        swarm = observe(book).nodes.values()
        managers = {node.labels.get("name") for node in swarm if node.role is Role.MANAGER}
        wait_for_agents(book, {name: api(book, name) for name in book.params.nodes if name in managers})
    except WaitTimeout as error:
        raise WaitTimeout(
            f"the gate before {before} does not open: {error.what}",
            where=before,
            wanted="every node ready, every service whole, every member Synced and none holding writers back, raft whole",
            seen=error.seen,
            next="fix what is shown, then the same command: it goes on from here",
            code=Code.GATE_CLOSED,
        ) from None


def swarm_manager(book: Book, not_on: str) -> str:
    """Return a manager that takes commands while another node has its turn.

    Args:
        book: The open book.
        not_on: That node.
    """
    others = [name for name in book.params.managers() if name != not_on]
    return next((name for name in others if name in book.params.nodes), "") or require_swarm(book)
