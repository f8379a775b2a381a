"""A book that is open: parameters, cluster, connections; and what a step gives back.

Each phase has the same four verbs. ``observe`` reads, ``plan`` is pure (observed and parameters in, changes out),
``apply`` does the changes, ``verify`` reads again and gives checks. :func:`converge` puts them in their order.
"""

from __future__ import annotations

import contextlib
import html
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from swarmbook.access.cluster import Cluster, Endpoint, Node
from swarmbook.access.docker_api import connect
from swarmbook.access.hosts import Fleet, fan_out
from swarmbook.access.pki import Authority, Leaf
from swarmbook.base.errors import ConfirmationMissing, OutOfOrder, SwarmbookError
from swarmbook.base.secrets import mask
from swarmbook.model import transcript as transcripts
from swarmbook.model.checks import Check, CheckTable, Table
from swarmbook.model.phases import PHASES
from swarmbook.model.plan import FILE as PLAN_FILE
from swarmbook.model.plan import Change, Plan, PlannedStep, read_plan
from swarmbook.model.transcript import Command, Transcript
from swarmbook.params import Params, ParamView
from swarmbook.show.drawing import as_image, timeline
from swarmbook.show.progress import AtWork
from swarmbook.show.widgets import confirm_box, somebody_watches

__all__ = ["Book", "Change", "Prospect", "StepResult", "converge", "look", "show_picture"]

Seen = TypeVar("Seen")
STEP_MIME = "application/vnd.swarmbook.step+json"


@dataclass(frozen=True)
class StepResult:
    """What a step did and found; shows itself in a notebook and on a terminal."""

    changes: tuple[Change, ...]
    table: Table
    commands: tuple[Command, ...]
    hosts: int
    seconds: float
    looked: bool = False
    picture: str = ""
    stopped: bool = False

    @property
    def failed(self) -> list[Check]:
        """Checks that are not as wanted."""
        return self.table.failed if isinstance(self.table, CheckTable) else []

    def summary(self) -> str:
        """One line: what was changed."""
        if self.stopped:
            return "Stopped by the error below; what was done until then stays, and is not done twice."
        if not self.changes:
            return "Looked; changed nothing." if self.looked else "Nothing to change."
        hosts: dict[str, list[str]] = {}
        for change in self.changes:
            hosts.setdefault(change.detail or change.action, []).append(change.host)
        return (
            f"{len(self.changes)} changed: "
            + "; ".join(f"{what} ({', '.join(where)})" for what, where in hosts.items())
            + "."
        )

    def counts(self) -> dict[str, int]:
        """What the runner reads from the cell."""
        checks = len(self.table.checks) if isinstance(self.table, CheckTable) else 0
        return {"hosts": self.hosts, "changes": len(self.changes), "checks": checks, "failed": len(self.failed)}

    def __repr__(self) -> str:
        return mask(f"{self.summary()}\n{self.table.to_text()}")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        page = f"<p>{html.escape(mask(self.summary()))}</p>{self.table.to_html()}{transcripts.to_html(self.commands, self.picture and as_image(mask(self.picture)))}"
        return {"text/plain": repr(self), "text/html": page, STEP_MIME: self.counts()}


@dataclass
class Prospect:
    """A book that is only planned: its steps observe and plan, one phase after the other, and nothing is applied.

    Args:
        absent: Nodes that an earlier step has to make, or make ready: nothing can be asked there yet, and they are taken to come up empty.
        unknown: Why nothing can be said of the steps to come; empty while something can.
        managers: Nodes that will be swarm managers.
        steps: What the steps so far would do.
    """

    absent: set[str] = field(default_factory=set)
    unknown: str = ""
    managers: set[str] = field(default_factory=set)
    steps: list[PlannedStep] = field(default_factory=list)


class Book:
    """One phase of a book, open: what its steps work on.

    Args:
        phase: Number of the notebook.
        params: All parameters.
        cluster: The cluster; by default the one that the parameters name.
        prospect: Only plan; the notes are taken here.
    """

    def __init__(
        self, phase: str, params: Params, *, cluster: Cluster | None = None, prospect: Prospect | None = None
    ) -> None:
        self._all = params
        self.turn_to(phase)
        self.cluster = cluster or Cluster(params.cluster)
        self.prospect = prospect
        self.transcript = Transcript()
        #: When it was opened, on the monotonic clock.
        self.opened = time.monotonic()
        self.cluster.register_secrets()
        self._fleet: Fleet | None = None
        self._engines: dict[str, Any] = {}
        self._tunnels: dict[tuple[str, int], Endpoint] = {}
        self._open_tunnels = contextlib.ExitStack()
        self._tunnelling = threading.Lock()
        self._granted: set[tuple[str, tuple[str, ...]]] = set()
        #: Seconds since 1970, member, state: what a step has seen while it waited.
        self.samples: list[tuple[float, str, str]] = []

    def turn_to(self, phase: str) -> None:
        """Go to another phase with the same connections."""
        self.phase = phase
        self.params: ParamView = self._all.view(phase)

    @property
    def nodes(self) -> list[Node]:
        """The nodes of the parameters, from the inventory; in a prospect also those that are still to be made."""
        if self.prospect is not None:
            have = {node.name: node for node in self.cluster.nodes}
            self.cluster.refuse_removal(self.params.nodes)
            if any(name not in have for name in self.ready()):
                self.cluster.require_nodes(self.params.nodes, self.phase)
            return [have.get(name) or _to_come(name, at) for at, name in enumerate(self.params.nodes, 1)]
        return self.cluster.require_nodes(self.params.nodes, self.phase)

    def ready(self, names: Iterable[str] | None = None) -> list[str]:
        """Those of these nodes that can be asked; all nodes by default, and all can but in a prospect."""
        chosen = self.params.nodes if names is None else names
        absent = self.prospect.absent if self.prospect is not None else ()
        return [name for name in chosen if name not in absent]

    def node(self, name: str) -> Node:
        """One node by name."""
        return next(node for node in self.nodes if node.name == name)

    @property
    def fleet(self) -> Fleet:
        """SSH to every node that can be asked."""
        if self._fleet is None:
            self._fleet = Fleet(self.cluster, self.nodes, self.transcript)
        if self.prospect is not None:
            self._fleet.leave_out(self.prospect.absent)
        return self._fleet

    @property
    def authority(self) -> Authority:
        """The cluster's CA."""
        return Authority(self.cluster.pki_folder, f"swarmbook {self.cluster.name} CA")

    def leaf(self, name: str, names: list[str]) -> Leaf:
        """A certificate of the cluster's CA, by the parameters' ages."""
        return self.authority.leaf(
            name, names, days=self.params.certificate_days, renew_days=self.params.certificate_renew_days
        )

    def engine(self, name: str) -> Any:
        """The Docker SDK's client for a node's engine, over mutual TLS; kept open."""
        if name not in self._engines:
            self._engines[name] = connect(name, self.reach(name, self.params.docker_api_port), self.cluster.pki_folder)
        return self._engines[name]

    def reach(self, name: str, port: int) -> Endpoint:
        """Where a port of a node is reached from here; through SSH where it is not reached otherwise, by a tunnel that stays open."""
        node = self.node(name)
        if not node.tunnelled(port):
            return node.reach(port)
        host = self.fleet[name]
        host.connection()  # at once for all, before it is their turn
        with self._tunnelling:
            if (name, port) not in self._tunnels:
                self._tunnels[name, port] = Endpoint(
                    "127.0.0.1", self._open_tunnels.enter_context(host.forward("127.0.0.1", port))
                )
            return self._tunnels[name, port]

    def engines(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Clients for several nodes' engines; of all nodes by default, as far as they can be asked."""
        return fan_out(self.engine, {name: name for name in self.ready(names)})

    def grants(self, word: str, things: list[str]) -> bool:
        """Whether the word was typed into a box for just these things; if it was not, and there may be somebody to do it, the box is shown.

        Args:
            word: ORDER, DESTROY or CANCEL.
            things: All that it stands for. What was granted is granted once.
        """
        asked = (word, tuple(things))
        if asked in self._granted:
            self._granted.remove(asked)
            return True
        if somebody_watches():
            _in_notebook(confirm_box(word, things, lambda: self._granted.add(asked)))
        return False

    def close(self) -> None:
        """Close every connection."""
        for client in self._engines.values():
            client.close()
        self._open_tunnels.close()
        if self._fleet is not None:
            self._fleet.close()


def _to_come(name: str, at: int) -> Node:
    """What stands for a machine that is not there; its address is one of those kept for examples (RFC 5737)."""
    address = f"192.0.2.{at}"
    return Node(name, "", address, address, Endpoint(address, 22), "", disk="the second disk")


def _held_plan() -> Plan | None:
    """The plan that this run is held to, if it is held to one."""
    folder = os.environ.get("SWARMBOOK_RUN_DIR")
    path = Path(folder, PLAN_FILE) if folder else None
    return read_plan(path) if path is not None and path.exists() else None


class _Step:
    def __init__(self, book: Book) -> None:
        self._book = book
        self._position = book.transcript.position()
        self._started = time.monotonic()

    def result(
        self,
        changes: Iterable[Change],
        table: Table | Iterable[Check],
        hosts: int | None = None,
        *,
        looked: bool = False,
    ) -> StepResult:
        shown = table if isinstance(table, Table) else CheckTable(table)
        if isinstance(shown, CheckTable):
            self._book.transcript.checked(shown.checks)
        commands = self._book.transcript.since(self._position)
        count = len(self._book.params.nodes) if hosts is None else hosts
        # Of a step that only looks nobody asks when; and what is the same every time can be held against itself.
        work = [] if looked else self._book.transcript.work_since(self._position, self._started)
        picture = timeline(work, "Who worked when in this step") if work else ""
        result = StepResult(tuple(changes), shown, commands, count, time.monotonic() - self._started, looked, picture)
        if result.failed:
            _display(result)
            assert isinstance(shown, CheckTable)
            notebook = PHASES[self._book.phase].file.removesuffix(".ipynb")
            shown.raise_for_failures(
                f"read the transcript of the step in {notebook}; then: swarmbook run PARAMS --from {self._book.phase}"
            )
        return result

    def failed(self, error: SwarmbookError) -> None:
        """Show what ran before an error, since the error ends the cell."""
        commands = self._book.transcript.since(self._position)
        if commands:
            _display(
                StepResult(
                    (),
                    Table(["step"], [["stopped: " + error.what]]),
                    commands,
                    len(self._book.params.nodes),
                    0.0,
                    stopped=True,
                )
            )


def converge(
    book: Book,
    *,
    observe: Callable[[Book], Seen],
    plan: Callable[[ParamView, Seen], list[Change]],
    apply: Callable[[Book, Seen, list[Change]], None],
    verify: Callable[[ParamView, Seen], list[Check]],
    what: str,
    hosts: int | None = None,
    suppose: Callable[[Book, Seen | None], Seen] | None = None,
    ahead: Callable[[Prospect, Seen, list[Change]], None] | None = None,
) -> StepResult:
    """One step: observe, plan, apply what differs under the cluster's lock, observe again, verify.

    A step that finds nothing to change reads once. In a prospect it ends with its plan.

    Args:
        book: The open book.
        observe: Reads how it is.
        plan: Pure: what would have to be changed.
        apply: Does it.
        verify: Pure: what is as wanted, and what not.
        what: The step's name within its phase.
        hosts: How many hosts it is about, if not all.
        suppose: In a prospect, completes what was observed by how nodes come up that are not there yet; is given None where
            nothing could be observed. A step without it asks no node.
        ahead: In a prospect, notes what the step's changes mean for the steps to come.

    Raises:
        ConfirmationMissing: A change costs or destroys, and its word was not given.
        PlanMismatch: The run is held to a plan, and this is not it.
        CheckFailed: Something is not as wanted in the end.
    """
    if book.prospect is not None:
        return _foresee(book, book.prospect, observe, plan, what, suppose, ahead)
    step = _Step(book)
    try:
        with AtWork():
            seen = observe(book)
            changes = plan(book.params, seen)
            if (held := _held_plan()) is not None:
                held.hold(book.phase, what, changes)
            if changes:
                _confirmed(book, changes)
                book.transcript.planned(what, changes)
                with book.cluster.lock(f"{book.phase}: {what}"):
                    apply(book, seen, changes)
                seen = observe(book)
            checks = verify(book.params, seen)
        return step.result(changes, checks, hosts)
    except SwarmbookError as error:
        if error.exit_code != 1:
            step.failed(error)
        raise


def _confirmed(book: Book, changes: list[Change]) -> None:
    """Refuse what costs or destroys without its typed word."""
    for word in dict.fromkeys(change.word for change in changes if change.word):
        if book.params.confirm != word:
            things = [f"{change.host}: {change.detail}" for change in changes if change.word == word]
            if book.grants(word, things):
                continue
            raise ConfirmationMissing(
                f"not confirmed: {len(things)} {'thing' if len(things) == 1 else 'things'} would be {'ordered' if word == 'ORDER' else 'removed'}",
                wanted=f"confirm = {word!r}",
                seen=f"confirm = {book.params.confirm!r}\n" + "\n".join(things),
                next=f"set confirm to {word!r} in the parameters cell, or on a terminal type the word when asked",
            )


def _foresee(
    book: Book,
    prospect: Prospect,
    observe: Callable[[Book], Seen],
    plan: Callable[[ParamView, Seen], list[Change]],
    what: str,
    suppose: Callable[[Book, Seen | None], Seen] | None,
    ahead: Callable[[Prospect, Seen, list[Change]], None] | None,
) -> StepResult:
    assumed: tuple[str, ...] = ()
    changes: list[Change] = []
    unknown = prospect.unknown
    if not unknown:
        if suppose is None:
            seen = observe(book)
        else:
            found: Seen | None = None
            if book.ready():
                try:
                    found = observe(book)
                except OutOfOrder:
                    if not any(step.changes for step in prospect.steps):  # else an earlier step makes what it stands on
                        raise
            assumed = tuple(name for name in book.params.nodes if found is None or name in prospect.absent)
            seen = suppose(book, found)
        changes = plan(book.params, seen)
        if ahead is not None:
            ahead(prospect, seen, changes)
    prospect.steps.append(PlannedStep(book.phase, what, tuple(changes), assumed, unknown))
    return StepResult(tuple(changes), Table([], []), (), 0, 0.0)


def look(book: Book, work: Callable[[Book], Table | list[Check]], hosts: int | None = None) -> StepResult:
    """One step that only reads.

    Args:
        book: The open book.
        work: Gives a table, or checks.
        hosts: How many hosts it looked at, if not all.
    """
    if book.prospect is not None:
        return StepResult((), Table([], []), (), 0, 0.0)
    step = _Step(book)
    try:
        with AtWork():
            found = work(book)
        return step.result((), found, hosts, looked=True)
    except SwarmbookError as error:
        if error.exit_code != 1:
            step.failed(error)
        raise


def show_picture(svg: str, words: str) -> None:
    """Show a picture above a step's table, as an output of its own; outside of a notebook, nothing.

    Args:
        svg: The picture.
        words: What is shown where there are no pictures.
    """
    _in_notebook({"text/html": as_image(mask(svg)), "text/plain": mask(words)}, raw=True)


def _display(result: StepResult) -> None:
    """Show a result at once: the error that follows ends the cell before its value could be shown."""
    _in_notebook(result)


def _in_notebook(what: Any, **how: bool) -> None:
    with contextlib.suppress(ImportError):
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            display(what, **how)
