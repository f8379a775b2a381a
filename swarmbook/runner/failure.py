"""After a failure: ask the nodes why, and put the answer on the terminal, into the notebook and into the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import nbformat

from swarmbook.base.errors import UsageError
from swarmbook.base.secrets import mask
from swarmbook.model import states
from swarmbook.model.results import ChapterRecord
from swarmbook.runner.console import Console
from swarmbook.runner.execution import save_notebook
from swarmbook.runner.kernels import log

__all__ = ["OnFailure", "look_into"]

#: Takes the chapter that failed, and a function that says whether to stop; returns the lines that matter.
OnFailure = Callable[[ChapterRecord, Callable[[], bool]], Sequence[str]]


def look_into(
    record: ChapterRecord,
    exit_code: int,
    folder: Path,
    on_failure: OnFailure,
    stopped: Callable[[], bool],
    console: Console,
) -> ChapterRecord:
    """Ask why a chapter failed. If asking fails, the terminal shows one line: the run's result does not change.

    Args:
        record: The chapter's result. Nothing is asked if it did not fail, was interrupted, or was a usage error.
        exit_code: That of the chapter.
        folder: The run's folder.
        on_failure: Collects, into that folder.
        stopped: Whether a signal came meanwhile.
        console: What the terminal sees.

    Returns:
        The record, with the lines that matter.
    """
    if record.status in (states.COMPLETED, states.INTERRUPTED) or exit_code == UsageError.exit_code:
        return record
    try:
        lines = tuple(mask(line) for line in on_failure(record, stopped))
        if lines:
            console.note("\n".join(lines))
        if lines and record.notebook:
            _into_notebook(folder / record.notebook, lines)
        return replace(record, lines=lines)
    except Exception as error:  # whatever it is: the run failed for another reason, and that one must be shown
        log.debug("after the failure of %s", record.notebook, exc_info=True)
        console.note(f"the nodes' logs could not be collected: {(str(error) or type(error).__name__).splitlines()[0]}")
        return record


def _into_notebook(path: Path, lines: Sequence[str]) -> None:
    """Put the lines below the error of the failed cell; statuses and times stay as they are."""
    nb = nbformat.reads(path.read_text("utf-8"), as_version=4)
    ended = (states.COMPLETED, states.NOT_RUN, states.PENDING)
    cell = next(
        (c for c in nb.cells if c.cell_type == "code" and c.metadata.get("papermill", {}).get("status") not in ended),
        None,
    )
    if cell is None:  # it failed before its first cell
        return
    cell.outputs.append(nbformat.v4.new_output("stream", name="stderr", text="\n".join(lines) + "\n"))
    save_notebook(nb, path)
