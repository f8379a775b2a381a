"""Every node in turn, with a gate before each and one at the end; what was begun is ended before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.phases.rolling.gate import pass_gate
from swarmbook.phases.rolling.progress import Progress, forget, keep, kept
from swarmbook.phases.rolling.turn import TURNS, take_back
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.swarm.state import observe as observe_swarm

__all__ = ["order", "roll"]

#: What has been rolled through a book: when the step looks again, it does not begin again.
_DONE: WeakKeyDictionary[Book, tuple[str, ...]] = WeakKeyDictionary()
_ACTIONS: Mapping[str, Action] = {
    "members": Action.RESTART_MEMBER,
    "engines": Action.RESTART,
    "system": Action.RENEW_SYSTEM,
}


@dataclass(frozen=True)
class Rolling:
    """What there is to be rolled over.

    Args:
        begun: A rolling change that is under way.
        leader: The node that leads the swarm.
        done: Nodes that have had their turn.
    """

    begun: Progress | None = None
    leader: str = ""
    done: tuple[str, ...] = ()


def order(names: Sequence[str], leader: str) -> list[str]:
    """Return the nodes in the order of their turns: the swarm's leader last, so that it hands over once; pure.

    Example:
        >>> order(["sw1", "sw2", "sw3"], "sw1")
        ['sw2', 'sw3', 'sw1']

    Args:
        names: The nodes.
        leader: Who leads the swarm.
    """
    return [name for name in names if name != leader] + [name for name in names if name == leader]


class Roll(Step[Rolling, Sequence[str]]):
    """Give every node its turn: its member restarted, its engine, or its system renewed.

    Raises:
        UsageError: Another rolling change is under way.
        WaitTimeout: A gate does not open. Another run goes on from there.
    """

    name = "rolling change"

    def observe(self, book: Book) -> Rolling:
        require_swarm(book)
        swarm = observe_swarm(book)
        leader = next((n.labels.get("name", "") for n in swarm.nodes.values() if n.manager == "leader"), "")
        begun = kept(book.cluster)
        return Rolling(begun, leader, _DONE.get(book) or (begun.done if begun else ()))

    def want(self, book: Book, seen: Rolling) -> Sequence[str]:
        """Return what is rolled, and the nodes in the order of their turns; nothing and none where nothing is named."""
        what, begun = book.params.roll, seen.begun
        other = begun.database if begun and begun.database != _database(book) else ""
        if what and begun is not None and (begun.what != what or other):
            of = f" of the database {other}" if other else ""
            raise UsageError(
                f"a rolling change of {begun.what}{of} was begun and has not ended",
                where=f"done: {', '.join(begun.done) or 'no node yet'}",
                wanted=f"one at a time, and not {what} before that",
                next=f"swarmbook roll PARAMS {begun.what}{f', with mariadb_cluster_name: {other}' if other else ''}",
                code=Code.ROLLING_UNDER_WAY,
            )
        names = {"": [], "members": book.params.members()}.get(what, book.params.nodes)
        return [what, *order(names, seen.leader)]

    def plan(self, wanted: Sequence[str], seen: Rolling) -> list[Change]:
        what, *names = wanted
        return [Change(name, _ACTIONS[what]) for name in names if name not in seen.done]

    def apply(self, book: Book, wanted: Sequence[str], seen: Rolling, changes: list[Change]) -> None:
        what = wanted[0]
        progress = seen.begun or Progress(what, database=_database(book))
        keep(book.cluster, progress)
        if progress.drained:  # by a run that did not live to give it its tasks back
            take_back(book, progress.drained)
        with Todo(changes) as todo:
            for change in todo.take(_ACTIONS[what]):
                pass_gate(book, change.host)
                if what == "system":
                    progress = replace(progress, drained=change.host)
                    keep(book.cluster, progress)
                TURNS[what](book, change.host)
                progress = replace(progress, done=(*progress.done, change.host), drained="")
                keep(book.cluster, progress)
        pass_gate(book, "the end")
        _DONE[book] = progress.done
        forget(book.cluster)

    def verify(self, wanted: Sequence[str], seen: Rolling) -> list[Check]:
        what, *names = wanted
        return [equal(name, what, "had its turn", "had its turn" if name in seen.done else "not yet") for name in names]

    def forecast(self, ahead: Forecast, seen: Rolling, changes: list[Change]) -> None:
        """Foretell nothing: what was there before is there after it."""


def _database(book: Book) -> str:
    """Name the database whose members are rolled; engines and systems are every database's."""
    return book.params.mariadb_cluster_name if book.params.roll == "members" else ""


roll = Roll()
