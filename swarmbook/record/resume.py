"""Going on from an earlier run: what it says is the list of what to prove, not the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmbook.base.errors import UsageError
from swarmbook.model.ledger import read_run
from swarmbook.model.phases import PHASES

__all__ = ["Parent", "read_parent"]


@dataclass(frozen=True)
class Parent:
    """The run that is resumed, as its ledger tells it.

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

    def link(self) -> dict[str, str]:
        """What the resuming run's ledger says of it."""
        return {"run": self.run, "status": self.status, "head": self.head}

    def left(self) -> list[str]:
        """Numbers of the notebooks to run: all of them, since what was completed is looked at again.

        But for those that take away: what came after one of them stands where it once cleared, and would be taken away.

        Raises:
            UsageError: Nothing is left to do.
        """
        numbers = [
            number
            for number in self.chapters
            if not (number in PHASES and PHASES[number].takes_away) or number not in self.completed
        ]
        if not numbers:
            raise UsageError(
                "there is nothing to resume: the run completed what it had to take away",
                where=str(self.folder),
                seen=self.status,
                next="swarmbook run PARAMS",
            )
        return numbers


def read_parent(folder: Path) -> Parent:
    """Read the run that is to be resumed.

    Args:
        folder: Its folder, also of a run that was killed.

    Raises:
        UsageError: It is no run's folder, or its ledger does not hold together.
    """
    chain = read_run(folder)
    run = chain.run
    told = {str(event.get("number")): event.get("status") for event in chain.events if event["event"] == "chapter"}
    try:
        chapters = tuple(str(chapter["number"]) for chapter in run["chapters"])
        return Parent(
            folder, str(run["run"]), str(run["cluster"]), str((chain.end or {}).get("status", "running")), chain.head, dict(run["parameters"]),
            chapters, frozenset(number for number in chapters if told.get(number) == "completed"),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            "the run's ledger does not say what it ran",
            where=str(folder),
            seen=repr(error),
            next=f"swarmbook audit {folder}",
        ) from None
