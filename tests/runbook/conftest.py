"""Notebooks made on the spot, whose code cells leave a trace that no one can argue with."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

import swarmbook.base.errors

ROOT = Path(swarmbook.base.errors.__file__).resolve().parents[2]


class Book:
    """Writes notebooks into a folder; every code cell notes its begin and its end in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace = folder / "trace"
        self.trace.touch()
        self.root = ROOT
        self.env = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}

    def notebook(self, name: str, *cells: str, traced: bool = True) -> Path:
        """Cells that start with ``#`` are markdown, ``@tag `` gives a code cell a tag."""
        nb = nbformat.v4.new_notebook()
        nb.metadata.update(kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"})
        nb.metadata.update(language_info={"name": "python"})
        for index, source in enumerate(cells):
            if source.startswith("#"):
                nb.cells.append(nbformat.v4.new_markdown_cell(source))
                continue
            tags = []
            if source.startswith("@"):
                tag, _, source = source[1:].partition(" ")
                tags = [tag]
            if traced and "parameters" not in tags:
                note = f"open({str(self.trace)!r}, 'a').write('{{}} {name} {index}\\n');"
                source = f"{note.format('begin')}\n{source}\n{note.format('end')}"
            nb.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
        path = self.folder / f"{name}.ipynb"
        nbformat.write(nb, path)
        return path

    def seen(self, word: str, name: str) -> set[int]:
        lines = (line.split() for line in self.trace.read_text().splitlines())
        return {int(line[2]) for line in lines if line[:2] == [word, name]}

    def statuses(self, path: Path, name: str) -> list[str]:
        """The cells' statuses, after a check of each against the trace."""
        nb = nbformat.read(path, as_version=4)
        nbformat.validate(nb)
        begun, ended = self.seen("begin", name), self.seen("end", name)
        found = []
        for cell in nb.cells:
            status = cell.metadata.papermill.status
            found.append(status)
            assert status in {
                "pending", "running", "completed", "failed", "timeout", "interrupted", "kernel-died", "not-run",
            }  # fmt: skip
            noted = re.search(rf"begin {name} (\d+)", cell.source)
            if noted:  # injection moves cells: the source knows the number they had
                number = int(noted[1])
                assert (status == "completed") == (number in ended), (number, status)
                assert (status not in ("not-run", "pending")) == (number in begun), (number, status)
        if nb.metadata.papermill.status not in ("completed", "running"):
            assert "completed" not in found[next(i for i, s in enumerate(found) if s != "completed") :]
        return found


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits for something to become true, bounded."""

    def wait(what: Callable[[], Any], timeout: float = 300.0) -> Any:
        deadline = time.monotonic() + timeout
        while not (found := what()):
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.02)
        return found

    return wait


def gone(pid: int) -> bool:
    """A zombie is gone: in a container without an init no one may collect it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True
    return state == "Z"


@pytest.fixture(name="gone")
def _gone() -> Callable[[int], bool]:
    return gone


@pytest.fixture
def summary() -> Callable[[Path], dict[str, Any]]:
    return lambda folder: json.loads((folder / "summary.json").read_text())
