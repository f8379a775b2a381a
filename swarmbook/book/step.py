"""A step: the one noun for what a notebook's cell does, and how it goes from what is seen to what is wanted.

A step has five verbs, and each may do what its name says. ``observe`` reads hosts, ``want`` reads the cluster's folder
and the parameters, ``plan`` and ``verify`` are pure, ``apply`` changes, and again after a kill at any moment. Two more
serve a plan-only run: what the step assumes of nodes that are not there yet, and what its changes mean for later steps.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from swarmbook.base.border import foreign, ours
from swarmbook.base.errors import CheckFailed, SwarmbookError
from swarmbook.book.book import Book
from swarmbook.book.consent import confirm, held_plan
from swarmbook.book.display import display
from swarmbook.book.lease import leased
from swarmbook.book.result import StepResult
from swarmbook.model.change import Change
from swarmbook.model.checks import Check, CheckTable, Table
from swarmbook.model.material import Material
from swarmbook.model.phases import PHASES
from swarmbook.model.plan import Plan
from swarmbook.params import Params
from swarmbook.show.changes import refuse, sentence
from swarmbook.show.drawing import timeline
from swarmbook.show.progress import AtWork

if TYPE_CHECKING:
    from swarmbook.book.forecast import Forecast

__all__ = ["Look", "Step", "look"]

Seen = TypeVar("Seen")
Wanted = TypeVar("Wanted")


class Step(ABC, Generic[Seen, Wanted]):
    """What brings the world to what is wanted; an object of it is what a notebook's cell calls.

    ::

        class Create(Step[Overlay, Network]):
            name = "overlay network"
            ...

        create = Create()      # the cell says: overlay.create(book)
    """

    #: Its name within its phase: plans, records and messages know it by this.
    name: ClassVar[str]

    @abstractmethod
    def observe(self, book: Book) -> Seen:
        """Return how things are. Reads only.

        Raises:
            OutOfOrder: What it stands on is not there: an earlier notebook was not run.
        """

    @abstractmethod
    def want(self, book: Book, seen: Seen) -> Wanted:
        """Return how things should be, by the parameters and the cluster's folder.

        Keys and secrets that are missing are generated aside, and kept only when something is applied.
        """

    @abstractmethod
    def plan(self, wanted: Wanted, seen: Seen) -> list[Change]:
        """List what has to be changed, in order. Pure."""

    @abstractmethod
    def apply(self, book: Book, wanted: Wanted, seen: Seen, changes: list[Change]) -> None:
        """Do just these changes. Killed at any moment and run again, it goes on from there."""

    @abstractmethod
    def verify(self, wanted: Wanted, seen: Seen) -> list[Check]:
        """List what is as wanted, and what is not. Pure."""

    def assume(self, ahead: Forecast, params: Params, seen: Seen | None) -> Seen:
        """Add to what was seen, in a plan-only run, how nodes come up that are not there yet.

        Args:
            ahead: What the steps before would do.
            params: The parameters.
            seen: What was observed; None where nothing could be asked. A step that asks no node never gets None.
        """
        assert seen is not None
        return seen

    def forecast(self, ahead: Forecast, seen: Seen, changes: list[Change]) -> None:
        """Note, in a plan-only run, what the changes mean for the steps to come."""

    def advance(self, book: Book) -> bool:
        """Go on to the next stage, once all is as wanted; most steps have one only.

        Returns:
            Whether there is one, and so whether to begin again.
        """
        return False

    def files(self, book: Book, wanted: Wanted) -> Mapping[str, str]:
        """Return the files that the run's folder keeps, by name, whether or not anything was changed."""
        return {}

    def materials(self, book: Book, wanted: Wanted, seen: Seen) -> list[Material]:
        """Return what is deployed now, for the record of a run. Reads only."""
        return []

    #: Whether :meth:`observe` asks nodes; one that does not can look before there are any.
    asks_nodes: ClassVar[bool] = True

    def hosts(self, book: Book) -> int:
        """Count the hosts that the step is about."""
        return len(book.params.nodes)

    def __call__(self, book: Book) -> StepResult:
        """Observe, plan, apply what differs under the cluster's lock, observe again, verify.

        A step that finds nothing to change reads once. One that goes by stages (:meth:`advance`) does so for each.

        Raises:
            ConfirmationMissing: A change costs or destroys, and its word was not given.
            PlanMismatch: The run is held to a plan, and this is not it.
            CheckFailed: Something is not as wanted in the end.
        """
        course = _Course(book)
        with course:
            done, wanted, seen = self._once(book, held_plan())
            checks = self.verify(wanted, seen)
            while all(check.ok for check in checks) and self.advance(book):
                # What a later stage does, the plan of the first one stands for.
                changes, wanted, seen = self._once(book)
                done += changes
                checks = self.verify(wanted, seen)
            book.keep_files(self.files(book, wanted))
            if book.transcript.recorded and all(check.ok for check in checks):
                with book.asking():
                    book.transcript.deployed(self.materials(book, wanted, seen))
        return course.result(done, CheckTable(checks), self.hosts(book))

    def _alone(self, book: Book, what: str) -> contextlib.AbstractContextManager[None]:
        """Hold the nodes; where machines are made or taken away, there is nothing yet, or soon, to hold them by."""
        phase = PHASES[book.phase]
        return contextlib.nullcontext() if phase.orders or "01" in phase.takes_away else leased(book, what)

    def _once(self, book: Book, held: Plan | None = None) -> tuple[list[Change], Wanted, Seen]:
        with book.asking():
            seen = self.observe(book)
        with book.cluster.staged() as keep:
            wanted = self.want(book, seen)
            changes = self.plan(wanted, seen)
            if held is not None:
                refuse(held, book.phase, self.name, held.mismatch(book.phase, self.name, changes))
            if changes:
                confirm(book, changes)
                book.transcript.planned(self.name, [(change, sentence(change)) for change in changes])
                with book.cluster.lock(what := f"{book.phase}: {self.name}"), self._alone(book, what):
                    keep()
                    self.apply(book, wanted, seen, changes)
        if changes:
            with book.asking():
                seen = self.observe(book)
            wanted = self.want(book, seen)
        return changes, wanted, seen


@dataclass(frozen=True)
class Look:
    """A step that changes nothing that stays; made by :func:`look`.

    Args:
        work: Gives a table, or checks.
        hosts: How many hosts it looks at.
        traces: What it writes and takes away again to see whether that works; empty for what only reads.
        sentence: What it did, where that is neither.
    """

    work: Callable[[Book], Table | list[Check]]
    hosts: Callable[[Book], int]
    traces: str = ""
    sentence: str = ""

    def __call__(self, book: Book) -> StepResult:
        """Look, and show what was found.

        Raises:
            CheckFailed: Something is not as wanted.
        """
        course = _Course(book)
        with course:
            found = self.work(book)
        table = found if isinstance(found, Table) else CheckTable(found)
        return course.result((), table, self.hosts(book), looked=True, traces=self.traces, said=self.sentence)


def look(
    *, hosts: Callable[[Book], int] | int | None = None, traces: str = "", sentence: str = ""
) -> Callable[[Callable[[Book], Table | list[Check]]], Look]:
    """Make a function a step that only looks.

    Args:
        hosts: How many hosts it looks at; all nodes by default.
        traces: What it writes and takes away again.
        sentence: What it did, where it neither only looks nor takes away all that it writes.
    """

    def count(book: Book) -> int:
        return len(book.params.nodes) if hosts is None else hosts if isinstance(hosts, int) else hosts(book)

    def made(work: Callable[[Book], Table | list[Check]]) -> Look:
        step = Look(work, count, traces, sentence)
        object.__setattr__(step, "__doc__", work.__doc__)
        return step

    return made


class _Course:
    """One step on its way: what runs meanwhile belongs to its result, or to the error that ends it."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._position = book.transcript.position()
        self._started = time.monotonic()
        self._at_work = AtWork()

    def __enter__(self) -> _Course:
        self._at_work.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._at_work.__exit__(kind, error, None)
        raw = error if error is not None and foreign(error) else None
        if isinstance(raw, Exception):
            error = ours(raw)
        if isinstance(error, SwarmbookError) and not isinstance(error, CheckFailed):
            # What ran before the error is shown now: the error ends the cell.
            commands = self._book.transcript.since(self._position)
            if commands:
                table = Table(["step"], [["stopped: " + error.what]])
                display(StepResult((), table, commands, len(self._book.params.nodes), 0.0, stopped=True))
        if raw is not None:
            assert error is not None
            raise error from raw

    def result(
        self,
        changes: Iterable[Change],
        shown: Table,
        hosts: int,
        *,
        looked: bool = False,
        traces: str = "",
        said: str = "",
    ) -> StepResult:
        book = self._book
        if isinstance(shown, CheckTable):
            book.transcript.checked(shown.checks)
        commands = book.transcript.since(self._position)
        # A step that only looks gets no timeline: its output stays the same every time, so that two runs can be compared.
        work = [] if looked else book.transcript.work_since(self._position, self._started)
        picture = timeline(work, "Who worked when in this step") if work else ""
        seconds = time.monotonic() - self._started
        result = StepResult(tuple(changes), shown, commands, hosts, seconds, looked, picture, traces=traces, said=said)
        if result.failed:
            display(result)
            assert isinstance(shown, CheckTable)
            notebook = PHASES[book.phase].file.removesuffix(".ipynb")
            shown.raise_for_failures(
                f"read the transcript of the step in {notebook}; then: swarmbook run PARAMS --from {book.phase}"
            )
        return result
