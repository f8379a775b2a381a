"""Going on from an earlier run: what it says is the list of what to prove, not the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmbook.base.errors import UsageError
from swarmbook.base.words import typed
from swarmbook.model import states
from swarmbook.model.ledger import Chain
from swarmbook.model.phases import PHASES
from swarmbook.model.record import Link
from swarmbook.record.reader import from_chain, read_unbroken

__all__ = ["Parent", "read_parent"]


@dataclass(frozen=True)
class Parent:
    """The run that is resumed: the view of its record that a resuming run needs.

    Args:
        folder: Its folder.
        run: Its id.
        cluster: Its cluster.
        status: How it ended; ``running`` when it was killed.
        head: Hash of its ledger's last line, so that the two records hold together.
        parameters: As they were resolved; secrets are references.
        chapters: Numbers of its notebooks, in order.
        completed: Those that it says it completed.
    """

    folder: Path
    run: str
    cluster: str
    status: str
    head: str
    parameters: Mapping[str, Any]
    chapters: tuple[str, ...]
    completed: frozenset[str]

    def link(self) -> Link:
        """Return what the resuming run's ledger says of it."""
        return Link(self.run, self.status, self.head)

    def left(self) -> list[str]:
        """List the numbers of the notebooks to run: all of them, since what was completed is proven again.

        Left out are those that took something away and were completed: what was built after them would go.

        Raises:
            UsageError: Nothing is left to do.
        """
        numbers = [
            number
            for number in self.chapters
            if not (number in PHASES and PHASES[number].removes) or number not in self.completed
        ]
        if not numbers:
            raise UsageError(
                "there is nothing to resume: the run completed what it had to take away",
                where=str(self.folder),
                seen=self.status,
                next="swarmbook run PARAMS",
            )
        return numbers


def read_parent(folder: Path, believed: Chain | None = None) -> Parent:
    """Read the run that is to be resumed.

    Args:
        folder: Its folder, also of a run that was killed.
        believed: The part of its ledger that tells what to do; by default all of it.

    Raises:
        UsageError: It is no run's folder, or its ledger does not hold together, or does not say what it ran.
    """
    record = whole = read_unbroken(folder)
    if believed is not None:
        record = from_chain(folder, believed)
    if not (record.run and record.chapters):
        raise UsageError(
            "the run's ledger does not say what it ran",
            where=str(folder),
            seen="its first event names no notebooks" if record.run else "its first event names no run",
            next=f"swarmbook audit {typed(folder)}",
        )
    return Parent(
        folder,
        record.run,
        record.cluster,
        whole.status,
        whole.head,
        record.parameters,
        tuple(chapter.number for chapter in record.chapters),
        frozenset(chapter.number for chapter in record.chapters if chapter.status == states.COMPLETED),
    )
