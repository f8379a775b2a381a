"""What a run found, without what differs each time: so that the same trouble is reported once, and not at every look."""

from __future__ import annotations

from pathlib import Path

from swarmbook.base.errors import SwarmbookError
from swarmbook.model.record import Record
from swarmbook.model.states import COMPLETED, INTERRUPTED, RUNNING
from swarmbook.record.reader import read_record
from swarmbook.record.runs import runs_in

__all__ = ["Outcome", "is_news", "outcome"]

#: Each thing that is not as wanted: a check by notebook, host and name; a notebook that broke off by its number and the error's code.
Outcome = frozenset[tuple[str, str, str]]


def outcome(record: Record) -> Outcome:
    """Return what is not as wanted; empty where all is.

    Args:
        record: A run.
    """
    checks = {(step.number, check.host, check.name) for step, check in record.checks if not check.ok}
    silent = {
        (chapter.number, "", str((chapter.error or {}).get("code") or chapter.status))
        for chapter in record.reached
        if chapter.status != COMPLETED and not any(number == chapter.number for number, _, _ in checks)
    }
    return frozenset(checks | silent)


def is_news(folder: Path) -> bool:
    """Tell whether a run found something else than the last one that looked at the same: trouble, other trouble, or its end.

    The first run is news where it found trouble. One that was interrupted found nothing, and is passed over.

    Args:
        folder: The run's folder, among those of its cluster.
    """
    record = read_record(folder)
    numbers = [chapter.number for chapter in record.chapters]
    runs = [path.name for path in runs_in(folder.parent)]
    for name in reversed(runs[: runs.index(folder.name)]):
        try:
            before = read_record(folder.parent / name)
        except SwarmbookError:  # cut off, or of another format: as if it were not there
            continue
        if [chapter.number for chapter in before.chapters] == numbers and before.status not in (INTERRUPTED, RUNNING):
            return outcome(before) != outcome(record)
    return bool(outcome(record))
