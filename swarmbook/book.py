"""A book that is open: parameters, cluster, connections; and what a step gives back.

Each phase has the same four verbs. ``observe`` reads, ``plan`` is pure (observed and parameters in, changes out),
``apply`` does the changes, ``verify`` reads again and gives checks. :func:`converge` puts them in their order.
"""

from __future__ import annotations

import contextlib
import html
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from . import transcript as transcripts
from .checks import Check, CheckTable, Table
from .cluster import Cluster, Node
from .docker_api import connect
from .errors import SwarmbookError
from .hosts import Fleet, fan_out
from .params import PHASES, Params, ParamView
from .pki import Authority, Leaf
from .secrets import mask
from .transcript import Command, Transcript

__all__ = ["Book", "Change", "StepResult", "converge", "look"]

Seen = TypeVar("Seen")
STEP_MIME = "application/vnd.swarmbook.step+json"


@dataclass(frozen=True)
class Change:
    """One thing a plan wants done.

    Args:
        host: Where; ``cluster`` for what belongs to no single host.
        action: What, by the name its phase knows it.
        detail: For a person.
        data: For the phase; holds no secret.
    """

    host: str
    action: str
    detail: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """What a step did and found; shows itself in a notebook and on a terminal."""

    changes: tuple[Change, ...]
    table: Table
    commands: tuple[Command, ...]
    hosts: int
    seconds: float
    next: str = ""

    @property
    def failed(self) -> list[Check]:
        """Checks that are not as wanted."""
        return self.table.failed if isinstance(self.table, CheckTable) else []

    def summary(self) -> str:
        """One line: what was changed."""
        if not self.changes:
            return "Nothing to change."
        hosts: dict[str, list[str]] = {}
        for change in self.changes:
            hosts.setdefault(change.detail or change.action, []).append(change.host)
        return f"{len(self.changes)} changed: " + "; ".join(f"{what} ({', '.join(where)})" for what, where in hosts.items()) + "."

    def counts(self) -> dict[str, int]:
        """What the runner reads from the cell."""
        checks = len(self.table.checks) if isinstance(self.table, CheckTable) else 0
        return {"hosts": self.hosts, "changes": len(self.changes), "checks": checks, "failed": len(self.failed)}

    def __repr__(self) -> str:
        return mask(f"{self.summary()}\n{self.table.to_text()}")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        page = f"<p>{html.escape(mask(self.summary()))}</p>{self.table.to_html()}{transcripts.to_html(self.commands)}"
        return {"text/plain": repr(self), "text/html": page, STEP_MIME: self.counts()}


class Book:
    """One phase of a book, open: what its steps work on.

    Args:
        phase: Number of the notebook.
        params: All parameters.
    """

    def __init__(self, phase: str, params: Params) -> None:
        self.phase = phase
        self.params: ParamView = params.view(phase)
        self.cluster = Cluster(params.cluster)
        self.transcript = Transcript()
        self.cluster.register_secrets()
        self._fleet: Fleet | None = None
        self._engines: dict[str, Any] = {}

    @property
    def nodes(self) -> list[Node]:
        """The nodes of the parameters, from the inventory."""
        return self.cluster.require_nodes(self.params.nodes, self.phase)

    def node(self, name: str) -> Node:
        """One node by name."""
        return next(node for node in self.nodes if node.name == name)

    @property
    def fleet(self) -> Fleet:
        """SSH to every node."""
        if self._fleet is None:
            self._fleet = Fleet(self.cluster, self.nodes, self.transcript)
        return self._fleet

    @property
    def authority(self) -> Authority:
        """The cluster's CA."""
        return Authority(self.cluster.folder / "pki", f"swarmbook {self.cluster.name} CA")

    def leaf(self, name: str, names: list[str]) -> Leaf:
        """A certificate of the cluster's CA, by the parameters' ages."""
        return self.authority.leaf(name, names, days=self.params.certificate_days, renew_days=self.params.certificate_renew_days)

    def engine(self, name: str) -> Any:
        """The Docker SDK's client for a node's engine, over mutual TLS; kept open."""
        if name not in self._engines:
            self._engines[name] = connect(self.node(name), self.params.docker_api_port, self.cluster.folder / "pki")
        return self._engines[name]

    def engines(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Clients for several nodes' engines; all nodes by default."""
        chosen = self.params.nodes if names is None else names
        return fan_out(self.engine, {name: name for name in chosen})

    def close(self) -> None:
        """Close every connection."""
        if self._fleet is not None:
            self._fleet.close()
        for client in self._engines.values():
            client.close()


class _Step:
    def __init__(self, book: Book) -> None:
        self._book = book
        self._position = book.transcript.position()
        self._started = time.monotonic()

    def result(self, changes: Iterable[Change], table: Table | Iterable[Check], hosts: int | None = None) -> StepResult:
        shown = table if isinstance(table, Table) else CheckTable(table)
        if isinstance(shown, CheckTable):
            self._book.transcript.checked(shown.checks)
        commands = self._book.transcript.since(self._position)
        result = StepResult(tuple(changes), shown, commands, len(self._book.params.nodes) if hosts is None else hosts, time.monotonic() - self._started)
        if result.failed:
            _display(result)
            assert isinstance(shown, CheckTable)
            notebook = f"{self._book.phase}_{PHASES[self._book.phase]}"
            shown.raise_for_failures(f"read the transcript of the step in {notebook}; then: swarmbook run PARAMS --from {self._book.phase}")
        return result

    def failed(self, error: SwarmbookError) -> None:
        """Show what ran before an error, since the error ends the cell."""
        commands = self._book.transcript.since(self._position)
        if commands:
            _display(StepResult((), Table(["step"], [["stopped: " + error.what]]), commands, len(self._book.params.nodes), 0.0))


def converge(
    book: Book,
    *,
    observe: Callable[[Book], Seen],
    plan: Callable[[ParamView, Seen], list[Change]],
    apply: Callable[[Book, Seen, list[Change]], None],
    verify: Callable[[ParamView, Seen], list[Check]],
    what: str,
    hosts: int | None = None,
) -> StepResult:
    """One step: observe, plan, apply what differs under the cluster's lock, observe again, verify.

    A step that finds nothing to change reads once.
    """
    step = _Step(book)
    try:
        seen = observe(book)
        changes = plan(book.params, seen)
        if changes:
            with book.cluster.lock(f"{book.phase}: {what}"):
                apply(book, seen, changes)
            seen = observe(book)
        checks = verify(book.params, seen)
        return step.result(changes, checks, hosts)
    except SwarmbookError as error:
        if error.exit_code != 1:
            step.failed(error)
        raise


def look(book: Book, work: Callable[[Book], Table | list[Check]], hosts: int | None = None) -> StepResult:
    """One step that only reads.

    Args:
        book: The open book.
        work: Gives a table, or checks.
        hosts: How many hosts it looked at, if not all.
    """
    step = _Step(book)
    try:
        return step.result((), work(book), hosts)
    except SwarmbookError as error:
        if error.exit_code != 1:
            step.failed(error)
        raise


def _display(result: StepResult) -> None:
    """Show a result at once: the error that follows ends the cell before its value could be shown."""
    with contextlib.suppress(ImportError):
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            display(result)
