"""Making a plan: every step of the notebooks is asked, in order, what it would do, and nothing is done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import __version__, consul, delivery, destroy, dns, engine, form, galera, history, overlay, preflight, provision, software, sql, start, storage, swarm
from .book import Book, Prospect, StepResult
from .cluster import Cluster
from .errors import UsageError
from .params import PHASES, Params
from .plan import Cost, Plan
from .providers import provider_for

__all__ = ["STEPS", "make_plan", "notebook_file", "notebook_hash"]

#: The steps of each notebook, in order: what its cells call. The notebook linter holds the notebooks to it.
STEPS: Mapping[str, tuple[Callable[[Book], StepResult], ...]] = {
    "00": (start.picture, start.prerequisites, form.edit),
    "01": (provision.key, provision.price, provision.machines, provision.reach, preflight.preflight),
    "02": (software.system, storage.disks),
    "03": (engine.configure, swarm.form, delivery.deliver),
    "04": (consul.deploy,),
    "05": (swarm.nodes_table, dns.from_containers),
    "06": (overlay.create, overlay.reach),
    "07": (galera.bootstrap,),
    "08": (sql.state, sql.replication, history.course),
    "90": (destroy.doomed, destroy.destroy),
    "91": (provision.doomed, provision.cancel),
}


def notebook_file(root: Path, number: str) -> Path:
    """A phase's notebook.

    Args:
        root: The book's folder.
        number: Of the phase.

    Raises:
        UsageError: It is not there.
    """
    path = root / "notebooks" / f"{number}_{PHASES[number]}.ipynb"
    if not path.exists():
        raise UsageError("a notebook is not there", where=str(path), next="run from the folder of the book, or name it: export SWARMBOOK_HOME=FOLDER")
    return path


def notebook_hash(root: Path, number: str) -> str:
    """SHA-256 of a phase's notebook as it is on disk."""
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
    prospect = Prospect()
    book = Book(numbers[0], params, cluster=cluster, prospect=prospect)
    try:
        with cluster.untouched():
            for number in numbers:
                book.turn_to(number)
                for step in STEPS[number]:
                    step(book)
            costs: tuple[Cost, ...] = ()
            if "01" in numbers:
                book.turn_to("01")
                new = {change.host for step in prospect.steps if step.phase == "01" for change in step.changes if change.action == "create"}
                offers = provider_for(book).offers(params.nodes)
                costs = tuple(Cost(offer.name, offer.what, offer.hourly_cost, offer.name in new, offer.monthly_cost) for offer in offers)
    finally:
        book.close()
    return Plan(cluster.name, params.model_dump(exclude={"confirm"}), hashes, tuple(prospect.steps), costs, __version__)
