"""A label on a node of the swarm that has all that a stack's global services need there.

Without it the swarm would start them on a node as soon as that joins, again and again, long before anyone has sent the image: and
each try adds the overlay there and takes it away, under what 06 tries on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swarmbook.access.commands import sh
from swarmbook.access.docker_api import Engine
from swarmbook.book.book import Book
from swarmbook.model.change import Action, Change

__all__ = ["changes_for", "label_of", "nodes_with", "only_prepared", "prepare"]


def label_of(stack: str) -> str:
    """Return the label, as ``KEY=VALUE``.

    Args:
        stack: Name of the stack.
    """
    return f"{stack}=ready"


def only_prepared(stack: str) -> dict[str, Any]:
    """Return the placement of a service that starts on such nodes alone, as a stack file has it.

    Args:
        stack: Name of the stack.
    """
    key, _, value = label_of(stack).partition("=")
    return {"constraints": [f"node.labels.{key} == {value}"]}


def nodes_with(engine: Engine, stack: str) -> frozenset[str]:
    """Return the names of the nodes that have the label.

    Args:
        engine: A manager's.
        stack: Name of the stack.
    """
    key, _, value = label_of(stack).partition("=")
    return frozenset(node.name for node in engine.swarm_nodes() if node.labels.get(key) == value)


def changes_for(stack: str, nodes: Iterable[str], there: frozenset[str]) -> list[Change]:
    """List the labels that are still to be set.

    Args:
        stack: Name of the stack.
        nodes: That should have it.
        there: Those that have it.
    """
    return [Change(node, Action.LABEL, (label_of(stack),)) for node in nodes if node not in there]


def prepare(book: Book, manager: str, changes: Iterable[Change]) -> None:
    """Set labels.

    Args:
        book: The open book.
        manager: A manager's node.
        changes: Of :func:`changes_for`.
    """
    ids = {node.name: node.id for node in book.engine(manager).swarm_nodes()}
    for change in changes:
        book.fleet[manager].run(
            sh("docker node update --label-add @{label} @{id}", label=change.things[0], id=ids[change.host])
        )
