"""What phases stand on: they ask first, so that a notebook run out of order says which one is missing."""

from __future__ import annotations

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, container_id
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, UsageError
from swarmbook.book.book import Book
from swarmbook.model.health import SwarmState
from swarmbook.params import Params

__all__ = ["labs_only", "require_consul", "require_swarm"]


def _part(facts: Facts) -> tuple[SwarmState, bool]:
    state, _, manages = "".join(facts["part"]).strip().partition(" ")
    return SwarmState.read(state or "none"), manages == "true"


#: A node's part in a swarm, and whether it manages it.
_PART: Probe[tuple[SwarmState, bool]] = Probe(
    sh("docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}' 2>/dev/null | as part"), _part
)
#: Ids of the containers of Consul's stack on a node.
_AGENTS: Probe[tuple[str, ...]] = Probe(
    sh("docker ps -q --filter label=com.docker.stack.namespace=consul | as agents"),
    lambda facts: tuple(container_id(line) for line in facts["agents"] if line),
)


_IN_WORDS = {
    SwarmState.NONE: "no engine answers",
    SwarmState.INACTIVE: "in no swarm",
    SwarmState.ACTIVE: "a worker",
    SwarmState.LOCKED: "locked: its engine asks for the unlock key, which 03 gives it",
}


def labs_only(params: Params) -> None:
    """Refuse to break machines that were not made for that.

    Args:
        params: The parameters.

    Raises:
        UsageError: They are no lab.
    """
    if params.provider != "lab":
        raise UsageError(
            "a drill breaks machines on purpose, so it is for labs only; nothing was touched",
            where=f"cluster {params.cluster}",
            wanted="provider: lab",
            seen=f"provider: {params.provider}",
            next="swarmbook drill params/lab.yaml",
            code=Code.DRILL_NEEDS_LAB,
        )


def require_swarm(book: Book) -> str:
    """Return the first manager by the parameters that answers as one.

    Args:
        book: The open book.

    Raises:
        OutOfOrder: There is no swarm.
    """
    first = book.params.nodes[0]
    seen = {first: book.fleet[first].ask(_PART, quiet=True)}
    if seen[first][1]:
        return first
    rest = [name for name in book.params.nodes if name != first]
    seen |= book.fleet.each(lambda host: host.ask(_PART, quiet=True), rest)
    manager = next((name for name, (_, manages) in seen.items() if manages), None)
    if manager is None:
        raise OutOfOrder(
            f"run 03 first: {first} manages no swarm",
            where=", ".join(seen),
            wanted="a swarm manager",
            seen="; ".join(f"{name}: {_IN_WORDS.get(state, state)}" for name, (state, _) in seen.items()),
            next="swarmbook run PARAMS --from 03",
        )
    return manager


def require_consul(book: Book) -> None:
    """Make sure that every node runs a Consul agent.

    Args:
        book: The open book.

    Raises:
        OutOfOrder: One does not.
    """
    agents = book.fleet.each(lambda host: host.ask(_AGENTS, quiet=True))
    without = [name for name, ids in agents.items() if not ids]
    if without:
        raise OutOfOrder(
            f"run 04 first: no Consul on {', '.join(without)}",
            where=", ".join(without),
            wanted="a running agent of the stack consul on every node",
            next="swarmbook run PARAMS --from 04",
        )
