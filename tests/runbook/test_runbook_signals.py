"""Signals to the process that runs the book."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from swarmbook.model.ledger import FILE, read_chain
from swarmbook.record.audit import audit

DRIVER = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest may itself run with SIGINT ignored
from swarmbook.runner.run import run_chapters
from swarmbook.model.results import Chapter
from swarmbook.runner.console import Console
here = Path(sys.argv[1])
chapters = [Chapter(here / f"{n}.ipynb", {}, "0" + str(i), n) for i, n in enumerate(("one", "two"), 1)]
sys.exit(run_chapters(chapters, here / "run", console=Console(sys.stdout)).exit_code)
"""

LONG = """
import os, time
open({pid!r}, 'w').write(str(os.getpid()))
try:
    time.sleep(600)
finally:
    open({interrupted!r}, 'w').close()
    while not os.path.exists({go!r}):
        time.sleep(0.01)
    open({fixed!r}, 'w').write('x')
"""


def start(book: Any, tmp_path: Path, until: Any) -> tuple[subprocess.Popen[str], int, Path]:
    pid, temp = tmp_path / "pid", Path("/tmp") / f"swbt-{os.getpid()}-{tmp_path.name[-3:]}"
    temp.mkdir(exist_ok=True)
    long = LONG.format(pid=str(pid), **{name: str(tmp_path / name) for name in ("interrupted", "go", "fixed")})
    book.notebook("one", "# A", "## Before", "1", "## Long", long, "## After", "3")
    book.notebook("two", "# B", "1")
    environment = {**os.environ, **book.env, "TMPDIR": str(temp)}
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    until(lambda: pid.exists() and pid.read_text())
    return process, int(pid.read_text()), temp


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(book: Any, tmp_path: Path, until: Any, gone: Any, summary: Any, signum: signal.Signals) -> None:
    process, pid, temp = start(book, tmp_path, until)
    process.send_signal(signum)
    until((tmp_path / "interrupted").exists)  # the cell is putting things right, and goes on only when the test says so
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)  # impatience changes nothing
    (tmp_path / "go").touch()
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert gone(pid) and (tmp_path / "fixed").exists() and list(temp.iterdir()) == []
    temp.rmdir()
    notebook = tmp_path / "run" / "01_one.ipynb"
    assert book.statuses(notebook, "one") == [
        "completed", "completed", "completed", "completed", "interrupted", "not-run", "not-run",
    ]  # fmt: skip
    nb = nbformat.read(notebook, as_version=4)
    assert nb.metadata.papermill.status == "interrupted"
    assert [o.ename for o in nb.cells[4].outputs] == ["Interrupted", "KeyboardInterrupt"]
    assert not (tmp_path / "run" / "02_two.ipynb").exists()
    record = summary(tmp_path / "run")
    assert (record["status"], record["exit_code"]) == ("interrupted", 130)
    assert [c["status"] for c in record["chapters"]] == ["interrupted", "not-run"]
    assert [s["status"] for s in record["chapters"][0]["steps"]] == ["completed", "interrupted", "not-run"]
    assert audit(tmp_path / "run", tmp_path).status == "interrupted"
    reported = read_chain((tmp_path / "run" / FILE).read_bytes()).events[-3:]
    assert [event["event"] for event in reported] == ["interruption", "chapter", "end"] and reported[0][
        "signal"
    ] == signum.name
    assert f"interrupted by {signum.name}" in said and str(notebook) in said and "Traceback" not in said


def test_killed(book: Any, tmp_path: Path, until: Any, gone: Any, summary: Any) -> None:
    process, pid, temp = start(book, tmp_path, until)
    process.kill()
    process.communicate(timeout=300)
    notebook = tmp_path / "run" / "01_one.ipynb"
    nb = nbformat.read(notebook, as_version=4)
    statuses = [cell.metadata.papermill.status for cell in nb.cells]
    assert statuses == ["completed", "completed", "completed", "completed", "running", "pending", "pending"]
    assert nb.metadata.papermill.status == "running"
    record = summary(tmp_path / "run")
    assert (record["status"], record["exit_code"]) == ("running", None)
    assert [c["status"] for c in record["chapters"]] == ["running", "pending"]
    chain = read_chain((tmp_path / "run" / FILE).read_bytes())
    assert [(e["event"], e.get("title", ""), e.get("status", "")) for e in chain.events] == [
        ("run", "", ""), ("chapter", "", "running"), ("step", "Before", "running"), ("step", "Before", "completed"), ("step", "Long", "running"),
    ]  # fmt: skip
    report = audit(tmp_path / "run", tmp_path)
    assert report.exit_code == 1 and "the run ended without an end: killed" in report.finding
    until(lambda: gone(pid))  # ipykernel looks once a second whether its parent is still there
    for left in temp.rglob("k.json"):
        assert left.stat().st_mode & 0o077 == 0
    subprocess.run(["rm", "-rf", str(temp)], check=True)
