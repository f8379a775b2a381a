"""The index over a cluster's runs."""

from __future__ import annotations

import json
from pathlib import Path

from swarmbook.base.files import write_atomic
from swarmbook.base.markup import tag
from swarmbook.base.secrets import mask
from swarmbook.base.words import many
from swarmbook.model import states
from swarmbook.model.results import ChapterRecord
from swarmbook.record.page import framed, mark, note, table, verdict
from swarmbook.record.reader import SUMMARY
from swarmbook.record.runs import runs_in

__all__ = ["index_html", "write_index"]


def index_html(parent: Path) -> str:
    """Return the history of a cluster's runs, the newest first.

    Args:
        parent: The cluster's folder of runs.
    """
    rows = [_row(folder) for folder in reversed(runs_in(parent))]
    columns = ("run (UTC)", "notebooks", "verdict", "seconds", "changes", "failed checks")
    title = f"Runs of {parent.name}"
    head = tag("h1", title), tag("p", f"{many(len(rows), 'run')}, the newest first.")
    return mask(framed(title, tag("main", *head, table(columns, rows, (3, 4, 5)))))


def write_index(parent: Path) -> Path:
    """Write ``index.html`` over a cluster's runs.

    Args:
        parent: The cluster's folder of runs.
    """
    path = parent / "index.html"
    write_atomic(path, index_html(parent))
    return path


def _row(folder: Path) -> tuple[str, list[object]]:
    """Render one run from its summary alone: an index over a thousand runs must not read a thousand records."""
    try:
        summary = json.loads((folder / SUMMARY).read_text("utf-8"))
        chapters = [chapter for c in summary["chapters"] if (chapter := ChapterRecord.from_json(c)).reached]
        status, seconds, changes = str(summary["status"]), float(summary["seconds"]), int(summary["changes"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        chapters, status, seconds, changes = [], states.RUNNING, 0.0, 0
    failed = sum(step.failed for chapter in chapters for step in chapter.steps)
    page = f"{folder.name}/report.html" if (folder / "report.html").exists() else f"{folder.name}/"
    cells: list[object] = [
        tag("a", folder.name, href=page),
        " ".join(chapter.number for chapter in chapters) or "nothing recorded",
        mark(status),
        f"{seconds:,.1f}",
        f"{changes:,}",
        note(False, str(failed)) if failed else "0",
    ]
    return ("bad" if verdict(status)[0] == "bad" else ""), cells
