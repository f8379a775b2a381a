"""The report: of a recorded run, of one that is damaged, and of one that is very long."""

from __future__ import annotations

import io
import json
import re
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from swarmbook.book.result import StepResult
from swarmbook.cli import main
from swarmbook.model.change import Action, Change
from swarmbook.model.checks import Check, CheckTable
from swarmbook.model.results import Chapter
from swarmbook.record import report as reports
from swarmbook.record.index import index_html, write_index
from swarmbook.record.reader import read_record
from swarmbook.record.report import report_html, write_report
from swarmbook.record.runs import earlier, runs_in
from swarmbook.runner.console import Console
from swarmbook.runner.run import run_chapters

EVIL = '<script src="https://example.org/x.js">alert(1)</script>&amp;"\''
NODES = ["sw1", "sw2", "sw3"]


def utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat()


def recorded(
    parent: Path, stamp: str, *, steps: int = 4, seen: str = "Synced", failed: bool = False, commands: int = 2
) -> Path:
    """A run's folder as a run of one notebook leaves it; the last step fails if asked to."""
    folder = parent / stamp
    folder.mkdir(parents=True)
    began = datetime.strptime(stamp[:20], "%Y-%m-%dT%H-%M-%SZ").replace(tzinfo=timezone.utc).timestamp() + 1
    nb = nbformat.v4.new_notebook()
    nb.cells.append(
        nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["parameters"], "papermill": {"status": "completed"}})
    )
    rows, lines = [], []
    for at in range(steps):
        bad = failed and at == steps - 1
        checks = [
            Check(
                node, f"state {at}", "Synced", "Donor" if bad and node == "sw2" else seen, not (bad and node == "sw2")
            )
            for node in NODES
        ]
        result = StepResult((Change("sw1", Action.LABEL, (f"n={at}",)),), CheckTable(checks), (), 3, 0.9)
        counts = {"hosts": 3, "changes": 1, "checks": 3, "failed": int(bad)}
        nb.cells.append(nbformat.v4.new_markdown_cell(f"## Step {at}"))
        done = {"status": "failed" if bad else "completed", "start_time": utc(began + at), "duration": 0.9}
        output = nbformat.v4.new_output("display_data", result._repr_mimebundle_())
        nb.cells.append(nbformat.v4.new_code_cell("step()", metadata={"papermill": done}, outputs=[output]))
        rows.append(
            {
                "number": "08",
                "chapter": "verify_galera",
                "title": f"Step {at}",
                "seconds": 0.9,
                "status": done["status"],
                **counts,
            }
        )
        title = {"event": "step", "number": "08", "chapter": "verify_galera", "title": f"Step {at}"}
        lines.append({**title, "time": utc(began + at), "status": "running"})
        if at == 0:
            lines.append(
                {
                    "event": "command",
                    "time": utc(began + 0.4),
                    "host": EVIL,
                    "text": EVIL,
                    "exit": 7,
                    "seconds": 0.1,
                    "tail": EVIL,
                }
            )
        for number in range(commands):
            for node in NODES:
                text = f"docker exec {at}.{number} mariadb -e 'SHOW STATUS' # {'padding ' * 10}"
                lines.append(
                    {
                        "event": "command",
                        "time": utc(began + at + 0.5),
                        "host": node,
                        "text": text,
                        "exit": 0,
                        "seconds": 0.2,
                        "tail": "",
                    }
                )
        lines.append({**title, "time": utc(began + at + 0.9), "seconds": 0.9, "status": done["status"], **counts})
    nb.metadata.papermill = {"status": "completed", "parameters": {"cluster": "lab", "nodes": NODES, "swarm_managers": 1, "odd": EVIL if not failed else "x",
                             "consul_https_port": 8501, "overlay_subnet": "10.200.0.0/24", "mariadb_cluster_name": "galera"}}  # fmt: skip
    nbformat.write(nb, folder / "08_verify_galera.ipynb")
    (folder / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    status = "failed" if failed else "completed"
    error = {"ename": "CheckFailed", "evalue": EVIL} if failed else None
    chapter = {
        "number": "08",
        "name": "verify_galera",
        "status": status,
        "seconds": 1.0 * steps,
        "steps": rows,
        "error": error,
    }
    summary = {
        "status": status,
        "exit_code": int(failed),
        "seconds": 1.0 * steps,
        "changes": steps,
        "folder": str(folder),
        "chapters": [chapter],
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


class Strict(HTMLParser):
    """Every tag closed in its order, nothing that loads anything, every anchor there."""

    VOID = ("meta", "br", "hr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(page)
        assert self.open == []
        assert {link[1:] for link in self.links if link.startswith("#")} <= self.ids
        assert not any(re.match(r"[a-z]+:|//", link) for link in self.links)
        assert not re.search(r"@import|url\(", page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use")
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on") and name not in ("src", "srcset", "style", "xlink:href")
            if name == "id":
                self.ids.add(value)
            elif name == "href":
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_of_a_run(tmp_path: Path) -> None:
    first = recorded(tmp_path / "lab", "2026-11-23T15-00-00Z", failed=True)
    second = recorded(tmp_path / "lab", "2026-11-23T16-00-00Z")
    record = read_record(second)
    assert (
        record.status,
        record.exit_code,
        record.changes,
        record.failed,
        len(record.checks),
        len(record.commands),
    ) == ("completed", 0, 4, 0, 12, 25)
    assert [len(step.commands) for step in record.steps] == [7, 6, 6, 6]
    assert record.steps[1].summary == "1 changed: node label n=1 (sw1)."
    before = earlier(record)
    assert before is not None and before.folder == first
    page = report_html(record, before=before)
    Strict(page)
    for words in (
        "✔ Completed", "All 12 checks as wanted", "2026-11-23 16:00:00 UTC", "unsigned", "11 same, 0 changed, 1 fixed, 0 broke", "✔ fixed", "EXIT 7", "sw1, sw2, sw3: exit 0",
        "◆ swarm manager", "◇ Consul client", "10.200.0.0/24",
    ):  # fmt: skip
        assert words in page
    page = report_html(read_record(first), signature="signed by ops@example")
    Strict(page)
    assert (
        "✘ Failed in 08 verify_galera" in page
        and "✘ FAILED" in page
        and "1 of 4 checks failed" in page
        and "signed by ops@example" in page
    )
    assert page.index("✘ FAILED") < page.index("✔ ok</span></td>")  # failed checks first
    assert "There is no earlier run" in page


def test_the_ledger_is_believed(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "lab", "2026-11-23T16-00-00Z")
    (folder / "summary.json").unlink()
    when = "2026-11-23T16:00:0{}Z".format
    events: list[dict[str, Any]] = [
        {"event": "run", "time": when(0), "user": "ana", "command": "swarmbook run", "swarmbook": "9.9", "parameters": {"cluster": "lab"}},
        {"event": "approval", "time": when(0), "by": "ana@here", "word": "ORDER", "how": "typed", "what": ["sw1: a machine <b>"]},
        {"event": "plan", "time": when(0), "digest": "sha256:abc", "changes": 7},
        {"event": "chapter", "time": when(1), "number": "08", "name": "verify_galera", "phase": "start"},
        {"event": "step", "time": when(2), "number": "08", "chapter": "verify_galera", "title": "Step 0", "status": "running"},
        {"event": "command", "time": when(2), "host": "sw1", "text": "true", "exit": 0, "seconds": 0.1, "tail": ""},
        {"event": "check", "time": when(2), "host": "sw1", "name": "state", "wanted": "a", "seen": "b", "ok": False},
        {"event": "plan", "time": when(2), "step": "x", "changes": [{"host": host, "action": "make", "detail": "a thing made"} for host in ("sw1", "sw2")]},
        {"event": "step", "time": when(2), "number": "08", "chapter": "verify_galera", "title": "Step 0", "hosts": 1, "changes": 5, "checks": 1, "failed": 1,
         "seconds": 0.5, "status": "failed"},
        {"event": "failure", "time": when(3), "what": "it broke"},
    ]  # fmt: skip
    (folder / "ledger.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events) + '{"event": "end", "sta')
    record = read_record(folder)
    assert (record.status, record.exit_code, record.steps[0].changes, record.steps[0].status) == (
        "running",
        None,
        5,
        "failed",
    )
    assert (len(record.checks), len(record.commands), [failure.text() for failure in record.failures]) == (
        1,
        1,
        ["it broke"],
    )
    page = report_html(record)
    Strict(page)
    assert (
        "No end recorded" in page
        and "it broke" in page
        and "9.9" in page
        and "Plan and approval" in page
        and "ORDER" in page
    )
    for words in (
        "ana@here",
        "typed",
        "sw1: a machine &lt;b&gt;",
        "sha256:abc",
        "7 changes",
        "sw1, sw2",
        "a thing made",
        "Its ledger does not hold together: line 1",
    ):
        assert words in page, words


def test_a_long_run_has_a_small_report(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "lab", "2026-11-23T16-00-00Z", steps=1000, commands=10, failed=True)
    path = write_report(folder)
    assert path.stat().st_size < 3_000_000
    page = path.read_text()
    assert "3,000 checks, 1 failed" in page and "✘ FAILED" in page and "see the ledger" in page
    Strict(page)


def test_the_index_lists_the_runs(tmp_path: Path) -> None:
    parent = tmp_path / "lab"
    recorded(parent, "2026-11-23T15-00-00Z", failed=True)
    recorded(parent, "2026-11-23T16-00-00Z")
    killed = recorded(parent, "2026-11-23T17-00-00Z")
    (killed / "summary.json").write_text("{")
    (parent / "notes").mkdir()
    write_report(parent / "2026-11-23T16-00-00Z")
    page = write_index(parent).read_text()
    Strict(page)
    assert [path.name[11:13] for path in runs_in(parent)] == ["15", "16", "17"]
    assert page.index("T17-00") < page.index("T16-00") < page.index("T15-00")
    assert 'href="2026-11-23T16-00-00Z/report.html"' in page and "✘ 1" in page and "3 runs" in page
    assert "0 runs" in index_html(tmp_path / "none")


@pytest.mark.parametrize("summary", [None, "", "[]", '{"chapters": [{}]}', '{"chapters": 3, "seconds": "x"}'])
def test_what_is_no_run_is_refused(tmp_path: Path, summary: str | None) -> None:
    if summary is not None:
        (tmp_path / "summary.json").write_text(summary)
    reported = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert reported.exit_code == 2 and "UsageError" in reported.output and str(tmp_path) in reported.output


def test_a_run_of_a_newer_swarmbook_is_refused(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "lab", "2026-11-23T16-00-00Z")
    (folder / "ledger.jsonl").write_text('{"event": "run", "format": 99}\n')
    reported = CliRunner().invoke(main, ["report", str(folder)])
    assert reported.exit_code == 2 and "newer swarmbook" in reported.output and "format 99" in reported.output


def test_the_command_writes_both(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "lab", "2026-11-23T16-00-00Z")
    reported = CliRunner().invoke(main, ["report", str(folder)])
    assert reported.exit_code == 0 and (folder / "report.html").exists() and (tmp_path / "lab" / "index.html").exists()


def test_a_run_reports_itself_and_outlives_a_report_that_fails(
    book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chapter = Chapter(book.notebook("a", "# A", "## Step", "1"), {}, "01", "a")
    folder = tmp_path / "lab" / "2026-11-23T16-00-00Z"
    assert run_chapters([chapter], folder, env=book.env).status == "completed"
    assert "✔ Completed" in (folder / "report.html").read_text() and (tmp_path / "lab" / "index.html").exists()

    def broken(*_: Any, **__: Any) -> str:
        raise RuntimeError("no report today")

    monkeypatch.setattr(reports, "report_html", broken)
    stream = io.StringIO()
    result = run_chapters([chapter], tmp_path / "lab" / "2026-11-23T17-00-00Z", env=book.env, console=Console(stream))
    assert (result.status, result.exit_code) == ("completed", 0) and "no report today" in stream.getvalue()
