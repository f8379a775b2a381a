"""Phase 30: who would be hit; then the fault, the picture of what an application noticed, and what became of each commit."""

from __future__ import annotations

import json
import random
from dataclasses import asdict

from swarmbook.application.tally import Seen
from swarmbook.base.words import many
from swarmbook.book.book import Book
from swarmbook.book.display import LivePicture, show_picture
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable, Table
from swarmbook.phases.drill.course import Course, Result, hold
from swarmbook.phases.drill.faults import FAULTS
from swarmbook.phases.drill.stage import Stage
from swarmbook.phases.use.step import picture
from swarmbook.show.widgets import somebody_watches

__all__ = ["course_picture", "drill", "parts", "result_checks"]

#: What a live picture shows, seconds.
_LIVE_S = 60.0


@look()
def parts(book: Book) -> Table:
    """Say what would be done, to whom, and what is to be expected.

    Raises:
        UsageError: It is no lab.
        OutOfOrder: It is not whole, or has no endpoint.
    """
    name, seed = book.params.drill_fault, book.params.drill_seed
    fault, stage = FAULTS[name], Stage(book, random.Random(f"{name} {seed}"))
    return Table(
        ["", "this drill"],
        [
            ["fault", fault.what],
            ["the writer now", stage.writer],
            ["the other member that may be hit", stage.other],
            ["leader of the swarm", stage.leader],
            ["the application works for", f"{fault.seconds:.0f} s"],
            ["what you will see", fault.seen],
            ["what the cluster does", fault.book],
            ["what you do", fault.you],
        ],
    )


@look(sentence="The fault was done, and is over.", hosts=lambda book: len(book.params.members()))
def drill(book: Book) -> CheckTable:
    """Do the fault while the application works, draw that, and hold what was acknowledged against every member.

    Raises:
        UsageError: It is no lab.
        OutOfOrder: It is not whole, or has no endpoint.
        LockHeld: Another application is at work.
    """
    watched, live = somebody_watches(), LivePicture()

    def heard(seen: Seen) -> None:
        if watched:
            live.show(picture(seen, _LIVE_S), "the application at work")

    course = hold(book, book.params.drill_fault, book.params.drill_seed, heard)
    svg = course_picture(course)
    live.show(svg, "what the application noticed") if watched else show_picture(
        svg, "what the application noticed: the table below"
    )
    data = json.dumps(asdict(course.result), indent=2)
    book.keep_files({"drill.svg": svg + "\n", "drill.json": data + "\n"})
    return CheckTable([*result_checks(course.result), *course.checks.checks])


def course_picture(course: Course) -> str:
    """Draw the application while the fault was done.

    Args:
        course: What was seen.
    """
    return picture(course.ran.seen, title=FAULTS[course.result.fault].what)


def result_checks(result: Result) -> list[Check]:
    """Put the figures into rows; what can be wrong is that the fault was not done, or that the cluster did not become whole.

    Args:
        result: Of a drill.
    """
    wanted = FAULTS[result.fault].wanted_s
    gap = f"{wanted:g} s are wanted" if wanted else "-"
    return [
        Check("lab", "the fault was done", "yes", result.not_done or "yes", not result.not_done),
        Check("cluster", "noticed by a member that was not hit", "-", _seconds(result.detect_s, "not at all"), True),
        Check("application", "longest time without a commit", gap, _seconds(result.gap_s), True),
        Check("application", "slowest transfer", "-", _seconds(result.slowest_s), True),
        Check("application", "reads that missed an acknowledged commit", "-", f"{result.stale} of {many(result.reads, 'read')}", True),
        Check("cluster", "two members acknowledged commits at once", "-", _seconds(result.double_s), True),
        Check("cluster", "all members serve again, by themselves", "yes", _seconds(result.whole_s, "no: " + "; ".join(result.wrong)), result.whole_s is not None),
    ]  # fmt: skip


def _seconds(value: float | None, otherwise: str = "-") -> str:
    return otherwise if value is None else f"{value:.1f} s"
