"""Making a plan: every step of the notebooks is asked, in order, what it would do, and nothing is done."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarmbook import __version__
from swarmbook.access.cluster import Cluster
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.book.forecast import PlannedBook, foresee
from swarmbook.book.step import Look, Step
from swarmbook.machines.providers import provider_for
from swarmbook.model.change import NEW_NODE
from swarmbook.model.phases import PHASES
from swarmbook.model.plan import Cost, Plan
from swarmbook.params import Params

__all__ = ["make_plan", "notebook_file", "notebook_hash", "steps_of"]


def steps_of(number: str) -> list[Step[Any, Any] | Look]:
    """List the steps of a phase, in order: what its notebook's cells call.

    Args:
        number: Of the phase.
    """
    found: list[Step[Any, Any] | Look] = []
    for step in PHASES[number].steps:
        module, _, name = step.partition(":")
        found.append(getattr(importlib.import_module(f"swarmbook.phases.{module}"), name))
    return found


def notebook_file(root: Path, number: str) -> Path:
    """Return the path of a phase's notebook.

    Args:
        root: The book's folder.
        number: Of the phase.

    Raises:
        UsageError: It is not there.
    """
    path = root / "notebooks" / PHASES[number].file
    if not path.exists():
        raise UsageError(
            "a notebook is not there",
            where=str(path),
            next="run from the folder of the book, or name it: export SWARMBOOK_HOME=FOLDER",
            code=Code.BOOK_NOT_HERE,
        )
    return path


def notebook_hash(root: Path, number: str) -> str:
    """Return the SHA-256 of a phase's notebook as it is on disk."""
    return hashlib.sha256(notebook_file(root, number).read_bytes()).hexdigest()


def make_plan(params: Params, numbers: Sequence[str], cluster: Cluster) -> Plan:
    """Look at everything and say what a run would change; nothing is changed, not even in the cluster's folder.

    Args:
        params: The parameters.
        numbers: Of the notebooks, in order.
        cluster: The cluster.

    Raises:
        SwarmbookError: What the run itself would stop at: foreign data, a host that does not answer, a port that is taken.
    """
    hashes = {number: notebook_hash(cluster.root, number) for number in numbers}
    book = PlannedBook(numbers[0], params, cluster)
    try:
        with cluster.untouched():
            for number in numbers:
                book.turn_to(number)
                for step in steps_of(number):
                    if isinstance(step, Step):
                        foresee(book, step)
            costs: tuple[Cost, ...] = ()
            if orders := next((number for number in numbers if PHASES[number].orders), None):
                book.turn_to(orders)
                planned = (change for step in book.ahead.steps if step.phase == orders for change in step.changes)
                new = {change.host for change in planned if change.action in NEW_NODE}
                offers = provider_for(book).offers(params.nodes)
                costs = tuple(
                    Cost(offer.name, offer.what, offer.hourly_cost, offer.name in new, offer.monthly_cost)
                    for offer in offers
                )
    finally:
        book.close()
    parameters = params.model_dump(exclude={"confirm"})
    return Plan(cluster.name, parameters, hashes, tuple(book.ahead.steps), costs, __version__)
