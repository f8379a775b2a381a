"""A notebook as the run reads it: its steps, the parameters that it declares, and what its cells showed."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import nbformat

from swarmbook.base.errors import UsageError
from swarmbook.model import states
from swarmbook.model.results import StepRecord
from swarmbook.model.step_output import read_outputs

__all__ = [
    "PARAMETER_TAGS",
    "count_steps",
    "parameter_names",
    "plain",
    "read_executed",
    "read_notebook",
    "recorded_step",
    "recorded_steps",
    "step_titles",
]

PARAMETER_TAGS = ("parameters", "injected-parameters")


def read_notebook(path: Path) -> Any:
    """Read a notebook that is about to be executed.

    Raises:
        UsageError: It cannot be read, or is none.
    """
    try:
        nb = nbformat.reads(path.read_text("utf-8"), as_version=4)
        nbformat.validate(nb)
        return nb
    except OSError as error:
        raise UsageError("the notebook cannot be read", where=str(path), seen=str(error.strerror)) from error
    except Exception as error:  # nbformat meets malformed files with errors of many kinds
        raise UsageError("this is no notebook", where=str(path), seen=repr(error)[:200]) from error


def read_executed(path: Path) -> Any:
    """Read a notebook that a run has saved; None if it is not there, or damaged."""
    try:
        # Without the check against the schema, which takes 10 times as long.
        nb = nbformat.v4.reads_json(path.read_text("utf-8"))
        return nb if isinstance(nb.get("cells"), list) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def recorded_step(cell: Any, number: str, chapter: str, title: str) -> StepRecord:
    """Read what became of a step from its executed cell.

    Args:
        cell: The cell.
        number: Number of its notebook.
        chapter: Name of its notebook.
        title: The step's title.
    """
    done, shown = cell.metadata.get("papermill", {}), read_outputs(cell.get("outputs", []))
    step = StepRecord(
        number,
        chapter,
        title,
        str(done.get("status") or states.NOT_RUN),
        seconds=round(float(done.get("duration") or 0.0), 3),
        began=datetime.fromisoformat(done["start_time"]).timestamp() if done.get("start_time") else 0.0,
        summary=shown.summary,
        planned=shown.changes,
        checked=shown.checks,
        commands=shown.commands,
    )
    return step.counted(shown.counts)


def recorded_steps(nb: Any, number: str, chapter: str) -> tuple[StepRecord, ...]:
    """Read the steps of an executed notebook, also those that it did not reach.

    Args:
        nb: The notebook.
        number: Its number.
        chapter: Its name.
    """
    cells = zip(nb.cells, step_titles(nb))
    return tuple(recorded_step(cell, number, chapter, title) for cell, title in cells if title)


def step_titles(nb: Any) -> list[str | None]:
    """Return for every cell the title of the step it belongs to; None for cells that are no step's code.

    Headings above the ``parameters`` cell are front matter. A cell tagged ``bootstrap`` is no step.
    """
    tags = [cell.metadata.get("tags", []) for cell in nb.cells]
    start = max((i for i, found in enumerate(tags) if set(found) & set(PARAMETER_TAGS)), default=-1)
    titles: list[str | None] = []
    title: str | None = None
    for index, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown" and index > start:
            title = _heading(cell.source) or title
        is_step = cell.cell_type == "code" and cell.source.strip() and "bootstrap" not in tags[index]
        titles.append(title if is_step and index > start else None)
    return titles


def _heading(source: str) -> str | None:
    found, fenced = None, False
    for line in source.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif line.startswith("## ") and not fenced:
            found = line[3:].strip().strip("#").strip()
    return found


def parameter_names(nb: Any, path: Path) -> set[str]:
    """Return the names that a notebook's parameters cell declares.

    Raises:
        UsageError: That cell is not plain Python.
    """
    names: set[str] = set()
    for cell in nb.cells:
        if cell.cell_type != "code" or "parameters" not in cell.metadata.get("tags", []):
            continue
        try:
            body = ast.parse(cell.source).body
        except SyntaxError as error:
            raise UsageError("the parameters cell is not plain Python", where=str(path), seen=str(error)) from error
        for statement in body:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names


def plain(value: Any) -> Any:
    """Return a value as papermill can write it as a literal: it refuses paths and dates, and makes text of tuples."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (os.PathLike, date)):
        return str(value)
    return value


def count_steps(path: Path) -> int:
    """Count a notebook's steps; 0 when it cannot be read, which is reported when its turn comes."""
    try:
        nb = nbformat.reads(path.read_text("utf-8"), as_version=4)
    except Exception:
        return 0
    return sum(1 for title in step_titles(nb) if title)
