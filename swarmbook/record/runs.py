"""The folders of a cluster's runs, in their order."""

from __future__ import annotations

import json
import re
from pathlib import Path

from swarmbook.model import ledger
from swarmbook.model.record import Record
from swarmbook.model.states import UNREACHED
from swarmbook.record.reader import SUMMARY, read_record

__all__ = ["STAMP", "earlier", "runs_in"]

#: What a run's folder is called.
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")


def runs_in(parent: Path) -> list[Path]:
    """List the runs' folders, the oldest first.

    Args:
        parent: The cluster's folder of runs.
    """
    if not parent.is_dir():
        return []
    found = (
        path
        for path in parent.iterdir()
        if STAMP.fullmatch(path.name) and any((path / name).exists() for name in (SUMMARY, ledger.FILE))
    )
    return sorted(found, key=lambda path: _order(path.name))


def _order(name: str) -> tuple[str, int]:
    """Sort the tenth run of a second behind its ninth."""
    stamp, _, suffix = name.partition("Z")
    return stamp, int(suffix.lstrip("-") or 1)


def earlier(record: Record) -> Record | None:
    """Find the last run before this one that ran at least one of its notebooks.

    Args:
        record: A run.
    """
    numbers = {chapter.number for chapter in record.chapters}
    for folder in reversed([path for path in runs_in(record.folder.parent) if path.name < record.folder.name]):
        ran = _ran(folder)
        if not ran or ran & numbers:
            return read_record(folder)
    return None


def _ran(folder: Path) -> set[str]:
    """Return the numbers of the notebooks that a run reached, from its summary alone: there may be a thousand runs."""
    try:
        summary = json.loads((folder / SUMMARY).read_text("utf-8"))
        return {str(c["number"]) for c in summary["chapters"] if c["status"] not in UNREACHED}
    except (OSError, ValueError, LookupError, TypeError):
        return set()
