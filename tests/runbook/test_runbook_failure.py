"""After a failure: who is asked why, when no one is, and where the answer stands."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest

from swarmbook.base import secrets
from swarmbook.model.ledger import FILE, read_chain
from swarmbook.model.results import Chapter, ChapterRecord, RunResult
from swarmbook.record.audit import audit
from swarmbook.record.misfit import UNVOUCHED
from swarmbook.runner.console import Console
from swarmbook.runner.run import run_chapters

SAYS = ("the lines that matter:", "  sw1  galera: [ERROR] it was hunter2hunter2")


class Why:
    """Collects, as the command line has it done, and remembers whom it was asked about."""

    def __init__(self, folder: Path, trouble: Exception | None = None) -> None:
        self.folder, self.trouble = folder, trouble
        self.asked: list[ChapterRecord] = []

    def __call__(self, record: ChapterRecord, stopped: Callable[[], bool]) -> Sequence[str]:
        self.asked.append(record)
        assert not stopped()
        (self.folder / "logs").mkdir()
        (self.folder / "logs" / "sw1.txt").write_text("all of it")
        if self.trouble:
            raise self.trouble
        return SAYS


def run(book: Any, folder: Path, cell: str, why: Why) -> tuple[RunResult, str]:
    path = book.notebook("bad", "# B", "## One", "1", "## Two", cell, "## Three", "3", traced=False)
    stream = io.StringIO()
    return run_chapters(
        [Chapter(path, {}, "07", "bad")], folder, env=book.env, console=Console(stream), on_failure=why
    ), stream.getvalue()


@pytest.mark.parametrize(
    ("cell", "status", "code"),
    [
        ("from swarmbook.base.errors import CheckFailed; raise CheckFailed('two of three')", "failed", "check-failed"),
        ("from swarmbook.base.errors import WaitTimeout; raise WaitTimeout('too late')", "failed", "wait-timeout"),
        ("import os; os._exit(7)", "kernel-died", None),
    ],
)
def test_the_answer_stands_everywhere(
    book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, status: str, code: str | None
) -> None:
    monkeypatch.setattr(secrets, "_known", {"hunter2hunter2"})
    folder = tmp_path / "run"
    why = Why(folder)
    result, said = run(book, folder, cell, why)
    assert [(record.number, record.status) for record in why.asked] == [("07", status)]
    lines = tuple(line.replace("hunter2hunter2", secrets.MASK) for line in SAYS)
    assert result.chapters[0].lines == lines
    assert "\n".join(lines) in said and said.index(lines[0]) > said.index("07 bad: ")
    nb = nbformat.read(folder / "07_bad.ipynb", as_version=4)
    nbformat.validate(nb)
    assert [c.metadata.papermill.status for c in nb.cells if c.cell_type == "code"] == ["completed", status, "not-run"]
    assert nb.metadata.papermill.status == status
    outputs = nb.cells[4].outputs
    assert outputs[-1].text == "\n".join(lines) + "\n" and [o.output_type for o in outputs].count("error") == 1
    (failure,) = [event for event in read_chain((folder / FILE).read_bytes()).events if event["event"] == "failure"]
    assert failure["lines"] == list(lines) and failure.get("code") == code
    assert json.loads((folder / "summary.json").read_text())["chapters"][0]["lines"] == list(lines)
    assert (result.chapters[0].error or {}).get("code") == code
    assert lines[1].strip().split("[")[0] in (folder / "report.html").read_text()
    assert "logs/sw1.txt" in {entry["path"] for entry in json.loads((folder / "manifest.json").read_text())["files"]}
    assert audit(folder, tmp_path).exit_code == UNVOUCHED, "it fits, and is unsigned"
    (folder / "logs" / "sw1.txt").write_text("something else")
    assert "logs/sw1.txt" in audit(folder, tmp_path).finding
    assert not any(b"hunter2hunter2" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("2", 0),
        ("from swarmbook.base.errors import OutOfOrder; raise OutOfOrder('run 03 first')", 2),
        (f"import os, signal, time; os.kill({os.getpid()}, signal.{signal.SIGTERM.name}); time.sleep(30)", 130),
    ],
    ids=["no failure", "usage", "interrupted"],
)
def test_when_nobody_is_asked(book: Any, tmp_path: Path, cell: str, code: int) -> None:
    why = Why(tmp_path / "run")
    result, _ = run(book, tmp_path / "run", cell, why)
    assert (result.exit_code, why.asked, result.chapters[0].lines) == (code, [], ())
    assert not (tmp_path / "run" / "logs").exists()


def test_its_own_failure_is_one_line(book: Any, tmp_path: Path) -> None:
    why = Why(tmp_path / "run", OSError(28, "No space left on device"))
    result, said = run(
        book, tmp_path / "run", "from swarmbook.base.errors import WorldError; raise WorldError('w')", why
    )
    assert (result.status, result.exit_code, result.chapters[0].lines) == ("failed", 3, ())
    assert (
        "the nodes' logs could not be collected: [Errno 28] No space left on device\n" in said
        and "Traceback" not in said
    )
    assert audit(tmp_path / "run", tmp_path).exit_code == UNVOUCHED, "it fits, and is unsigned"
