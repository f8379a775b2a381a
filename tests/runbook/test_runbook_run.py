"""The run over several chapters: records, exit codes, parameters, summary, and what the terminal sees."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from swarmbook.model.ledger import FILE, read_chain
from swarmbook.model.results import Chapter, RunResult, StepRecord
from swarmbook.record.audit import audit
from swarmbook.record.diff import compare_folders as compare
from swarmbook.record.misfit import UNVOUCHED
from swarmbook.record.notebooks import step_titles
from swarmbook.runner import console as console_module
from swarmbook.runner.console import Console
from swarmbook.runner.run import run_chapters

SHOW = (
    "display({'application/vnd.swarmbook.step+json': {'hosts': 3, 'changes': 2, 'checks': 4, 'failed': 0}}, raw=True)"
)


def test_a_run_that_passes(book: Any, tmp_path: Path, summary: Any) -> None:
    first = book.notebook(
        "first",
        "# First\n\n## Not a step\n",
        "@parameters nodes: list = []  # which\npath: str = ''",
        "import os, time; time.sleep(0.05)",
        "## Show {braces}\n\n```sh\n## no heading\n```",
        f"print(nodes, path, os.getcwd(), os.environ['MARK'])\n{SHOW}\n{SHOW}",
        "## Nothing\n",
        "1",
        "# Conclusion",
    )
    second = book.notebook("second", "# Second", "## Only", "print(os.getcwd()) if 'os' in dir() else print('fresh')")
    chapters = [
        Chapter(first, {"nodes": ("a", "b"), "path": tmp_path, "unknown": 1}, "04", "first"),
        Chapter(second, {"unknown": 1}, "05", "second"),
    ]
    stream = io.StringIO()
    folder = tmp_path / "runs" / "x{y}"
    result = run_chapters(
        chapters, folder, env={**book.env, "MARK": "m"}, console=Console(stream), cell_timeout_s=30, cwd=tmp_path
    )
    assert (result.status, result.exit_code, result.changes) == ("completed", 0, 4)
    one, two = result.chapters
    assert [(s.title, s.status, s.hosts, s.changes, s.checks, s.failed) for s in one.steps] == [
        ("Show {braces}", "completed", 6, 4, 8, 0),
        ("Nothing", "completed", 0, 0, 0, 0),
    ]
    assert one.notebook == "04_first.ipynb" and one.error is None
    assert one.seconds >= one.cell_seconds >= one.import_seconds > 0.04 and one.kernel_seconds >= 0
    nb = nbformat.read(folder / one.notebook, as_version=4)
    assert "unknown" not in nb.metadata.papermill.parameters
    assert nb.cells[5].outputs[0].text == f"['a', 'b'] {tmp_path} {tmp_path} m\n"
    assert two.steps[0].title == "Only"
    assert nbformat.read(folder / two.notebook, as_version=4).cells[2].outputs[0].text == "fresh\n"
    assert summary(folder) == json.loads(json.dumps(result.to_json()))
    lines = stream.getvalue().splitlines()
    assert lines[0].split() == ["04", "first", "Show", "{braces}", "6", "hosts", "4", "changes", *lines[0].split()[-3:]]
    assert lines[0].endswith("s   ✔") and lines[2].startswith("05 second  Only")
    assert (
        "phase" in stream.getvalue()
        and lines[-2].startswith("total")
        and lines[-1] == "record: unsigned: no key to sign with"
        and "\x1b" not in stream.getvalue()
    )
    assert {p.name for p in folder.iterdir()} == {
        "04_first.ipynb",
        "05_second.ipynb",
        "ledger.jsonl",
        "manifest.json",
        "report.html",
        "sbom",
        "summary.json",
    }


@pytest.mark.parametrize(
    ("raised", "code", "status"),
    [
        ("from swarmbook.base.errors import CheckFailed; raise CheckFailed('two of three', next='look')", 1, "failed"),
        ("from swarmbook.base.errors import ParameterError; raise ParameterError('p')", 2, "failed"),
        ("from swarmbook.base.errors import HostUnreachable; raise HostUnreachable('h')", 3, "failed"),
        ("raise KeyError('k')", 3, "failed"),
        ("import os; os._exit(7)", 3, "kernel-died"),
    ],
)
def test_the_first_failure_ends_the_run(
    book: Any, tmp_path: Path, summary: Any, raised: str, code: int, status: str
) -> None:
    bad = book.notebook("bad", "# B", "## Step one", "1", "## Step two", raised, "## Step three", "3")
    good = book.notebook("good", "# G", "## Step", "1")
    stream = io.StringIO()
    chapters = [Chapter(bad, {}, "01", "bad"), Chapter(good, {}, "02", "good")]
    result = run_chapters(chapters, tmp_path / "run", env=book.env, console=Console(stream))
    assert (result.status, result.exit_code) == (status, code)
    assert [c.status for c in result.chapters] == [status, "not-run"]
    assert [s.status for s in result.chapters[0].steps] == ["completed", status, "not-run"]
    assert book.statuses(tmp_path / "run" / "01_bad.ipynb", "bad")[4:] == [status, "not-run", "not-run"]
    assert book.seen("begin", "good") == set()
    assert summary(tmp_path / "run")["exit_code"] == code
    report = audit(tmp_path / "run", tmp_path)
    assert (report.exit_code, report.status) == (UNVOUCHED, status)
    said = stream.getvalue()
    error = result.chapters[0].error
    assert error is not None and error["evalue"] in said and "1 step of it did not run" in said
    assert str(tmp_path / "run" / "01_bad.ipynb") in said and "not run" in said.splitlines()[-4]
    if code == 1:
        assert "CheckFailed: two of three\n  next:   look" in said


@pytest.mark.parametrize(("ends", "code"), [("raise CheckFailed('three')", 1), ("pass", 1)])
def test_what_only_looks_goes_on_and_the_first_failure_is_the_runs(
    book: Any, tmp_path: Path, summary: Any, ends: str, code: int
) -> None:
    imported = "from swarmbook.base.errors import CheckFailed"
    bad = book.notebook("bad", "# B", "## Step", f"{imported}; raise CheckFailed('two')")
    then = book.notebook("then", "# T", "## Step", f"{imported}; {ends}")
    chapters = [Chapter(bad, {}, "05", "bad"), Chapter(then, {}, "08", "then")]
    result = run_chapters(chapters, tmp_path / "run", env=book.env, go_on=True)
    last = "completed" if ends == "pass" else "failed"
    assert (result.status, result.exit_code) == ("failed", code)
    assert [c.status for c in result.chapters] == ["failed", last]
    assert ("08 then failed: CheckFailed: three" in result.line("lab")) == (last == "failed")
    assert "05 bad failed: CheckFailed: two" in result.line("lab")
    report = audit(tmp_path / "run", tmp_path)
    assert (report.exit_code, report.status) == (UNVOUCHED, "failed")
    assert summary(tmp_path / "run")["exit_code"] == code


def test_where_no_one_lets_us_in_nothing_goes_on(book: Any, tmp_path: Path) -> None:
    imported = "from swarmbook.base.errors import LoginRefused"
    bad = book.notebook("bad", "# B", "## Step", f"{imported}; raise LoginRefused('n1 does not accept the key')")
    then = book.notebook("then", "# T", "## Step", "1")
    chapters = [Chapter(bad, {}, "05", "bad"), Chapter(then, {}, "08", "then")]
    result = run_chapters(chapters, tmp_path / "run", env=book.env, go_on=True)
    assert [c.status for c in result.chapters] == ["failed", "not-run"] and result.exit_code == 3


LOOK = """
import threading
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import equal
from swarmbook.params import Params
@look()
def work(book):
    run = lambda n: [book.transcript.record(f"sw{n}", f"echo {i}", 0, 0.1) for i in range(10)]
    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return [equal("sw1", "mounted", "yes", "SEEN")]
work(Book("02", Params(cluster="unit")))
"""


def test_runner_and_kernels_write_one_ledger(book: Any, tmp_path: Path) -> None:
    runs = []
    for name, seen in (("a", "yes"), ("b", "no")):
        notebook = book.notebook("x", "# X", "## Look", LOOK.replace("SEEN", seen), "## Again", "1")
        env = {**book.env, "SWARMBOOK_RUN_DIR": str(tmp_path / name), "SWARMBOOK_HOME": str(tmp_path)}
        run_chapters([Chapter(notebook, {"size": 1}, "02", "x")], tmp_path / name, env=env)
        runs.append(tmp_path / name)
        assert audit(tmp_path / name, tmp_path).exit_code == UNVOUCHED
    good, bad = (read_chain((run / FILE).read_bytes()).events for run in runs)
    step = ["step", *["command"] * 40, "check", "step"]
    assert [e["event"] for e in good] == ["run", "chapter", *step, "step", "step", "chapter", "end"]
    assert [e["event"] for e in bad] == ["run", "chapter", *step, "failure", "chapter", "end"]
    assert bad[-3]["what"] == "CheckFailed" and bad[-1]["exit_code"] == 1
    assert good[0]["parameters"] == {"size": 1} and len(good[0]["chapters"][0]["sha256"]) == 64
    (difference,) = compare(*runs).differences
    assert (difference.chapter, difference.step, difference.name, difference.before) == (
        "02 x",
        "Look",
        "mounted",
        "yes",
    )


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"cells": 1}'])
def test_what_is_no_notebook(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "x.ipynb"
    if content is not None:
        path.write_text(content)
    result = run_chapters([Chapter(path, {}, "01", "x")], tmp_path / "run")
    assert (result.status, result.exit_code) == ("failed", 2)
    assert audit(tmp_path / "run", tmp_path).exit_code == UNVOUCHED, "it fits, and is unsigned"
    assert result.chapters[0].error is not None and str(path) in result.chapters[0].error["evalue"]


def test_no_chapters(tmp_path: Path) -> None:
    result = run_chapters([], tmp_path / "run")
    assert (result.status, result.exit_code, result.chapters) == ("completed", 0, ())
    assert isinstance(result, RunResult)


def test_titles() -> None:
    new = nbformat.v4
    nb = new.new_notebook(
        cells=[
            new.new_markdown_cell("## Steps"),
            new.new_code_cell("x = 1", metadata={"tags": ["parameters"]}),
            new.new_code_cell("x = 2", metadata={"tags": ["injected-parameters"]}),
            new.new_code_cell("import y"),
            new.new_markdown_cell("## A step ##\ntext"),
            new.new_code_cell("f()"),
            new.new_code_cell("boot()", metadata={"tags": ["bootstrap"]}),
            new.new_code_cell("  "),
            new.new_markdown_cell("### detail"),
            new.new_code_cell("g()"),
        ]
    )
    assert step_titles(nb) == [None] * 5 + ["A step", None, None, None, "A step"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


STEP = StepRecord("04", "deploy_consul", "Servers on the managers", "completed", 1, 1, 1, 0, 2.14)


def test_an_ascii_log(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    console = Console(io.TextIOWrapper(raw, encoding="ascii"))
    console.run_started([("04", "deploy_consul")], 2)
    console.step_started("04", "deploy_consul", STEP.title)
    console.waiting(STEP.title, 3)
    monkeypatch.setattr(console_module, "SIGN_OF_LIFE_S", 0.0)
    console.waiting(STEP.title, 30)
    console.waiting(STEP.title, 45, lambda: "waits: \x1b[31msw1 runs 1-big.sql")
    console.step_finished(STEP)
    console.note("\x1b[31mü\x1b[0m")
    text = raw.getvalue().decode("ascii").splitlines()
    assert text[0] == "... still at: Servers on the managers (30 s)"
    assert text[1] == "... still at: Servers on the managers (45 s): waits: sw1 runs 1-big.sql"
    assert text[2].split("  ")[0] == "04 deploy_consul" and text[2].endswith("2.1 s   ok")
    assert "1 host " in text[2] and "1 change " in text[2] and text[3] == "?"


def test_a_terminal_has_a_bar() -> None:
    stream = Terminal()
    console = Console(stream)
    console.run_started([("04", "deploy_consul")], 2)
    console.step_started("04", "deploy_consul", STEP.title)
    console.waiting(STEP.title, 60)
    console.step_finished(STEP)
    console.run_finished(RunResult(Path("x"), "completed", 0, 1.0, ()))
    assert "1/2 steps" in stream.getvalue() or "0/2 steps" in stream.getvalue()
    assert "✔" in stream.getvalue() and "still at" not in stream.getvalue()


def test_a_closed_pipe_is_survived() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    console = Console(Closed())
    console.step_finished(STEP)
    console.note("more")


FULL = """
import sys
from pathlib import Path
from swarmbook.runner.console import Console
from swarmbook.model.results import Chapter
from swarmbook.runner.run import run_chapters
here = Path(sys.argv[1])
sys.exit(run_chapters([Chapter(here / "a.ipynb", {}, "01", "a")], here / "run", console=Console(sys.stdout)).exit_code)
"""


@pytest.mark.parametrize(("cell", "code", "status"), [("1", 0, "completed"), ("1/0", 3, "failed")])
def test_a_full_disk_under_the_log_changes_nothing(
    book: Any, tmp_path: Path, summary: Any, cell: str, code: int, status: str
) -> None:
    """Before, the run ended with a traceback and exit code 1 behind a summary that said completed, and without an end in its ledger."""
    book.notebook("a", "## Step", cell)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", FULL, str(tmp_path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **book.env},
            check=False,
        )
    assert (done.returncode, done.stderr) == (code, "")
    assert (summary(tmp_path / "run")["status"], summary(tmp_path / "run")["exit_code"]) == (status, code)
    report = audit(tmp_path / "run", tmp_path)
    assert (report.exit_code, report.status) == (UNVOUCHED, status)


def test_what_an_earlier_run_completed_is_proven(book: Any, tmp_path: Path, summary: Any) -> None:
    nothing = SHOW.replace("'changes': 2", "'changes': 0")
    same = book.notebook("same", "# A", "## Step", nothing)
    drifted = book.notebook("drifted", "# B", "## Step", SHOW)
    left = book.notebook("left", "# C", "## Step", SHOW)
    broken = book.notebook("broken", "# D", "## Step", "1 / 0")
    chapters = [Chapter(same, {}, "01", "same", True), Chapter(drifted, {}, "02", "drifted", True), Chapter(left, {}, "03", "left"),
                Chapter(broken, {}, "04", "broken", True)]  # fmt: skip
    stream = io.StringIO()
    result = run_chapters(chapters, tmp_path / "run", env=book.env, console=Console(stream))
    assert [(c.status, c.proof) for c in result.chapters] == [
        ("completed", "verified"),
        ("completed", "drifted"),
        ("completed", ""),
        ("failed", ""),
    ]
    assert [c["proof"] for c in summary(tmp_path / "run")["chapters"]] == ["verified", "drifted", "", ""]
    reported = [
        e.get("proof", "")
        for e in read_chain((tmp_path / "run" / FILE).read_bytes()).events
        if e["event"] == "chapter" and e["status"] != "running"
    ]
    assert reported == ["verified", "drifted", "", ""]
    lines = stream.getvalue().splitlines()
    assert any(line.startswith("01 same") and line.endswith("✔ verified") for line in lines)
    assert any(line.startswith("02 drifted") and line.endswith("✔ drifted") for line in lines)
    assert result.line("lab").startswith(
        "lab: NOT FINE: 12 checks, 0 failed; 04 broken failed: ZeroDivisionError: division by zero; "
    )
