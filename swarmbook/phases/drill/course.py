"""One drill: an application works, a fault is done, and every acknowledged commit is looked for on every member."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from swarmbook.application.session import Session
from swarmbook.application.tally import Seen
from swarmbook.base.border import ours
from swarmbook.base.errors import SwarmbookError, WaitTimeout
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.model.checks import CheckTable
from swarmbook.phases.drill.faults import FAULTS
from swarmbook.phases.drill.moments import Look, detected, overlap, whole
from swarmbook.phases.drill.stage import Stage
from swarmbook.phases.use.doors import ThroughSsh, of_members
from swarmbook.phases.use.folder import claimed
from swarmbook.phases.use.step import Ran, clean, held, run_it

__all__ = ["Course", "Result", "hold"]

#: Seconds after which the fault is done, at least and at most: the seed draws.
_BEGUN_S = (5.0, 8.0)
#: Seconds from one look at a member to the next, and how long the members may take to be whole again.
_LOOK_S, _WHOLE_S = 0.2, 240.0
_ASKED = (
    "SHOW GLOBAL STATUS WHERE Variable_name IN "
    "('wsrep_local_state_comment', 'wsrep_cluster_size', 'wsrep_cluster_status')"
)


@dataclass(frozen=True)
class Result:
    """What one fault did.

    Args:
        fault: Its name.
        seed: Of all that is drawn.
        writer: The node of the writer when it began.
        detect_s: Until a member that was not hit was in another component, seconds; None where none ever was.
        gap_s: Longest time without a commit, seconds.
        slowest_s: Longest time that one transfer took, a second try included, seconds.
        whole_s: Until all members served again, and went on so, seconds; None where they do not.
        acknowledged: Commits that were acknowledged.
        again: ... at a second try.
        undone: Transfers that are known not to have been done.
        unknown: Transfers of which no one knew what became of them.
        stale: Reads that missed an acknowledged commit.
        reads: All reads.
        double_s: Longest time in which two members acknowledged commits at once, seconds.
        kept: Whether every acknowledged commit is there once, on every member, and the total holds.
        wrong: What did not hold, in words.
        not_done: Why the fault could not be done, or not as it should; empty where it was.
    """

    fault: str
    seed: int
    writer: str
    detect_s: float | None
    gap_s: float
    slowest_s: float
    whole_s: float | None
    acknowledged: int
    again: int
    undone: int
    unknown: int
    stale: int
    reads: int
    double_s: float
    kept: bool
    wrong: tuple[str, ...] = ()
    not_done: str = ""


class _Looking:
    """Looks at one member again and again, in a thread of its own: one that stands still keeps no other waiting."""

    def __init__(self, door: ThroughSsh, over: threading.Event) -> None:
        self.looks: list[Look] = []
        self._door, self._over = door, over
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def _go_on(self) -> None:
        session: Session | None = None
        while not self._over.wait(_LOOK_S):
            try:
                session = session or self._door.open()
                look = _look(session)
            except SwarmbookError:
                if session is not None:
                    session.close()
                session, look = None, Look(time.monotonic())
            self.looks.append(look)
        if session is not None:
            session.close()

    def end(self) -> None:
        """Look no more."""
        self._thread.join()
        self._door.close()


def _look(session: Session) -> Look:
    said = {str(name): str(value) for name, value in session.ask(_ASKED)}
    session.commit()
    size = int(said["wsrep_cluster_size"]) if said["wsrep_cluster_status"] == "Primary" else 0
    return Look(time.monotonic(), said["wsrep_local_state_comment"], size)


@contextmanager
def _looking(book: Book) -> Iterator[dict[str, _Looking]]:
    over = threading.Event()
    found = {node: _Looking(door, over) for node, door in of_members(book).items()}
    try:
        yield found
    finally:
        over.set()
        for one in found.values():
            one.end()


@dataclass(frozen=True)
class Course:
    """What was seen of one fault, all of it.

    Args:
        result: In figures.
        ran: The application.
        checks: What was acknowledged, held against every member.
    """

    result: Result
    ran: Ran
    checks: CheckTable


def hold(book: Book, name: str, seed: int, heard: Callable[[Seen], None]) -> Course:
    """Do one fault to a lab while the application works.

    Args:
        book: The open book of a lab that is whole, with its endpoint.
        name: Of the fault.
        seed: Of all that is drawn: when it begins, whom it hits, how long it lasts.
        heard: Hears how far the application is, about once a second.

    Raises:
        UsageError: It is no lab.
        OutOfOrder: It is not whole, or has no endpoint.
        LockHeld: Another application is at work.
    """
    fault, rng = FAULTS[name], random.Random(f"{name} {seed}")
    stage, begins = Stage(book, rng), rng.uniform(*_BEGUN_S)
    hit: list[str] = []
    wrong: list[str] = []
    moment: list[float] = []
    failed: list[SwarmbookError] = []

    def act() -> None:
        moment.append(time.monotonic())
        try:
            hit.extend(fault.act(stage))
        except Exception as error:  # in a thread of its own no one would hear of it
            failed.append(ours(error))

    acting = threading.Thread(target=act)

    def listen(seen: Seen) -> None:
        if seen.seconds >= begins and acting.ident is None:
            acting.start()
        heard(seen)

    with claimed(book.cluster.name), _looking(book) as looking:
        ran = run_it(book, fault.seconds, listen, stoppable=False)
        acting.join()

        def looks() -> dict[str, list[Look]]:
            return {node: list(one.looks) for node, one in looking.items()}

        try:
            wait_for(
                "all members serve again",
                lambda: (whole(looks(), moment[0]) is not None, _last(looks())),
                timeout_s=_WHOLE_S,
                where=", ".join(stage.nodes),
                next="swarmbook status PARAMS",
            )
        except WaitTimeout as error:
            wrong.append(f"{error.what}; {error.seen}")
        checks = held(book, ran.folder)
        if not checks.failed:
            clean(book)
        seen = looks()
        if whole(seen, moment[0]) is not None:
            stage.forget_aside()
    wrong += [f"{one.host}, {one.name}: wanted {one.wanted}, seen {one.seen}" for one in checks.failed]
    figures = ran.figures
    result = Result(
        name, seed, stage.writer, detected(seen, hit, moment[0]), figures.gap_s, figures.slowest_s, whole(seen, moment[0]), figures.acknowledged,
        figures.again, figures.undone, figures.unknown, figures.stale, figures.reads, overlap(ran.seen.commits), not checks.failed, tuple(wrong), "; ".join(f"{error.what}: {error.seen}" for error in failed),
    )  # fmt: skip
    return Course(result, ran, checks)


def _last(looks: Mapping[str, Sequence[Look]]) -> str:
    return "; ".join(
        f"{node}: {seen[-1].state or 'no answer'}, component of {seen[-1].size}" for node, seen in looks.items() if seen
    )
