"""A plan-only run: steps observe and plan, one after the other, and nothing is applied.

Only this module knows that a book is only planned. A :class:`PlannedBook` answers for nodes that are still to be made; a
step sees an open book as always, and is asked what it assumes of them and what its changes mean for later steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from swarmbook.access.cluster import Cluster
from swarmbook.access.fleet import Fleet
from swarmbook.access.node import Endpoint, Node
from swarmbook.base.errors import OutOfOrder
from swarmbook.book.book import Book
from swarmbook.book.step import Step
from swarmbook.model.plan import PlannedStep
from swarmbook.params import Params

__all__ = ["Forecast", "PlannedBook", "foresee"]


@dataclass
class Forecast:
    """What the steps so far would do, and what that means for those to come.

    Args:
        absent: Nodes that an earlier step has to make, or make ready: nothing can be asked there yet, and they are taken
            to come up empty.
        unknown: Why nothing can be said of the steps to come; empty while something can.
        managers: Nodes that will be swarm managers.
        restored: The node on which data of a snapshot will be in place, and that snapshot; nothing where none will.
        steps: What the steps so far would do.
    """

    absent: set[str] = field(default_factory=set)
    unknown: str = ""
    managers: set[str] = field(default_factory=set)
    restored: tuple[str, str] | None = None
    steps: list[PlannedStep] = field(default_factory=list)


class PlannedBook(Book):
    """A book whose nodes may be still to come.

    Args:
        phase: Number of the first notebook.
        params: All parameters.
        cluster: The cluster.
    """

    def __init__(self, phase: str, params: Params, cluster: Cluster) -> None:
        super().__init__(phase, params, cluster=cluster)
        self.ahead = Forecast()

    @property
    def nodes(self) -> list[Node]:
        """The nodes of the parameters, from the inventory; and those that are still to be made."""
        if self._shrinks:
            return super().nodes
        have = {node.name: node for node in self.cluster.nodes}
        self.cluster.refuse_removal([*self._all.nodes, *self._all.without])
        if any(name not in have for name in self.ready()):
            self.cluster.require_nodes(self._all.nodes, self.phase, self._all.without)
        return [have.get(name) or _to_come(name, at) for at, name in enumerate(self.params.nodes, 1)]

    def ready(self, names: Iterable[str] | None = None) -> list[str]:
        """Return those of these nodes that can be asked now."""
        return [name for name in super().ready(names) if name not in self.ahead.absent]

    @property
    def fleet(self) -> Fleet:
        """SSH to every node that can be asked now."""
        fleet = super().fleet
        fleet.leave_out(self.ahead.absent)
        return fleet


def _to_come(name: str, at: int) -> Node:
    """Build what stands for a machine that is not there; its address is one of those kept for examples (RFC 5737)."""
    address = f"192.0.2.{at}"
    return Node(name, "", address, address, Endpoint(address, 22), "", disk="the second disk")


def foresee(book: PlannedBook, step: Step[Any, Any]) -> None:
    """Ask a step what it would do, and note it.

    Raises:
        SwarmbookError: What the run itself would stop at.
    """
    ahead = book.ahead
    if ahead.unknown:
        ahead.steps.append(PlannedStep(book.phase, step.name, unknown=ahead.unknown))
        return
    found: Any = None
    assumed: tuple[str, ...] = ()
    if not step.asks_nodes or book.ready():
        try:
            with book.asking():
                found = step.observe(book)
        except OutOfOrder:
            # Where an earlier step makes what this one stands on, nothing can be asked yet.
            if not step.asks_nodes or not any(earlier.changes for earlier in ahead.steps):
                raise
    if step.asks_nodes:
        assumed = tuple(name for name in book.params.nodes if found is None or name in ahead.absent)
    seen = step.assume(ahead, book.params, found)
    changes = step.plan(step.want(book, seen), seen)
    step.forecast(ahead, seen, changes)
    ahead.steps.append(PlannedStep(book.phase, step.name, tuple(changes), assumed))
