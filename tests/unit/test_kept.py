"""Runs and plans of earlier versions, kept as they were written: this version reads them, or refuses them clearly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from swarmbook.base.errors import UsageError
from swarmbook.cli import main
from swarmbook.model import ledger as ledgers
from swarmbook.model import plan as plans
from swarmbook.model.checks import Check
from swarmbook.model.ledger import Ledger
from swarmbook.model.record import Approved, HeldPlan
from swarmbook.record import manifest
from swarmbook.record.audit import audit
from swarmbook.record.diff import State, compare, compare_folders
from swarmbook.record.reader import read_record, read_unbroken
from swarmbook.record.report import report_html
from swarmbook.record.resume import read_parent

KEPT = Path(__file__).with_name("kept")
RUNS = sorted(path for path in KEPT.iterdir() if path.is_dir())
SIGNERS = {
    1: "SHA256:omztqQV59Nx3S/E/Rjpuir2DGpqAe0RfdeewpKkRGEc",
    2: "SHA256:II1eKhqFJGwo7sRI6K9k3WOsOjXW4zKlTz/HKReI6js",
}


@pytest.fixture(params=RUNS, ids=[path.name for path in RUNS])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "runs" / "lab" / "2026-11-25T09-00-00Z"))


def _format(run: Path) -> int:
    return int(str(ledgers.format_of((run / "ledger.jsonl").read_bytes())))


def test_there_is_one_of_each_format() -> None:
    assert [path.name for path in RUNS] == [f"run-format-{number + 1}" for number in range(ledgers.FORMAT)]


def test_it_is_audited(run: Path, home: Path) -> None:
    number = _format(run)
    report = audit(run, home, str(KEPT / f"run-format-{number}.allowed_signers"))
    assert (report.exit_code, report.finding, report.status, report.cluster) == (0, "", "failed", "lab")
    assert (report.run, report.events, report.files) == (
        "2026-11-25T09-00-00Z",
        {1: 31, 2: 35}[number],
        {1: 7, 2: 8}[number],
    )
    assert report.signature.startswith(f"by swarmbook@lab, {SIGNERS[number]}, as ")
    assert report.before == {1: "", 2: "none: the first run of its cluster"}[number], "format 1 does not say"
    assert bool(report.envelope) is (number > 1)


def test_it_is_read(run: Path) -> None:
    record = read_record(run)
    assert (record.run, record.cluster, record.status, record.exit_code) == (run.name, "lab", "failed", 1)
    assert (record.broken, record.changes, record.failed, round(record.seconds)) == ("", 3, 1, 10)
    assert [(c.number, c.name, c.status) for c in record.chapters] == [
        ("02", "post_provision", "completed"),
        ("03", "build_swarm", "failed"),
        ("05", "verify_swarm", "not-run"),
    ]
    kernels, disk, engines, swarm = record.steps
    assert [(s.number, s.title, s.status) for s in record.steps] == [
        ("02", "Kernels", "completed"),
        ("02", "The second disk", "completed"),
        ("03", "The engines", "failed"),
        ("03", "The swarm", "not-run"),
    ]
    assert not (kernels.checked or kernels.planned or kernels.commands or swarm.checked)
    assert disk.checked == tuple(Check(f"sw{n}", "second disk", "empty", "empty", True) for n in (1, 2, 3))
    assert [(c.host, c.action, c.sentence, c.word) for c in disk.planned] == [
        (f"sw{n}", "wipe", "/dev/vdb wiped", "DESTROY") for n in (1, 2, 3)
    ]
    assert [c.text for c in disk.commands] == ["lsblk --json /dev/vdb"] * 3 + ["wipefs --all /dev/vdb"] * 3 + [
        "lsblk --json /dev/vdb"
    ] * 3
    assert [(c.host, c.ok) for c in engines.checked] == [("sw1", True), ("sw2", False)]
    assert [(c.exit, c.tail) for c in engines.commands] == [(1, "Cannot connect to the Docker daemon")]
    assert sorted(c.began for c in record.commands) == [c.began for c in record.commands] and len(record.commands) == 10
    assert record.began < kernels.began < disk.began < engines.began < record.began + record.seconds
    digest = "sha256:bc41b8a078ad2116e9f9adca1b78578b4c739c1d8556896d368ee4e3146d857e"
    assert record.plan == HeldPlan(digest, 3, partial=True)
    what = tuple(f"sw{n}: /dev/vdb wiped" for n in (1, 2, 3))
    assert record.approvals == (Approved("2026-11-27T02:39:19.638152Z", "DESTROY", "ops@desk", "typed", what),)
    (failure,) = record.failures
    assert (failure.number, failure.what, failure.lines) == (
        "03",
        "CheckFailed",
        ("sw2  engine  failed to start daemon: no space left on device",),
    )
    assert record.facts["user"] == "ops" and record.facts["command"] == "swarmbook run params/lab.yaml"
    assert record.versions["swarmbook"] == "0.1.0" and record.host_keys["sw3"] == "ssh-ed25519 AAAA3"
    assert record.parameters["nodes"] == ["sw1", "sw2", "sw3"] and record.parent is None
    assert [m.uri for m in record.materials if m.host == "sw1"] == (
        ["pkg:deb/debian/util-linux@2.38.1-5%2Bdeb12u3", "pkg:docker/swarmbook/consul@0123456789ab"]
        if _format(run) > 1
        else []
    )


def test_without_its_ledger_the_rest_still_tells(run: Path) -> None:
    """Its notebooks hold counts only: format 1 of a step."""
    (run / "ledger.jsonl").unlink()
    record = read_record(run)
    assert (record.status, record.exit_code, record.changes, record.failed) == ("failed", 1, 3, 1)
    assert [(s.title, s.status, s.hosts, s.checks) for s in record.steps] == [
        ("Kernels", "completed", 3, 0),
        ("The second disk", "completed", 3, 3),
        ("The engines", "failed", 3, 2),
        ("The swarm", "not-run", 0, 0),
    ]
    assert record.broken == "there is none" and record.failures[0].what == "CheckFailed"


def test_it_is_reported(run: Path) -> None:
    page = report_html(read_record(run), before=read_record(run), signature="unsigned")
    for words in (
        "✘ Failed in 03 build_swarm",
        "5 checks, 1 failed; 3 changes; 1 notebook not run.",
        "/dev/vdb wiped",
        "ops@desk",
        "no space left on device",
        "Cannot connect to the Docker daemon",
        "5 same, 0 changed, 0 fixed, 0 broke, 0 new, 0 gone",
    ):
        assert words in page, words


def test_it_is_compared(run: Path) -> None:
    assert compare_folders(run, run).differences == ()
    record = read_unbroken(run)
    found = compare(record, read_record(run))
    assert found.counts["check"][State.SAME] == 5 and found.exit_code == 0, "ledger and folder tell the same"


def test_it_is_resumed(run: Path) -> None:
    parent = read_parent(run)
    assert (parent.run, parent.cluster, parent.status) == (run.name, "lab", "failed")
    assert (parent.chapters, parent.completed, parent.left()) == (("02", "03", "05"), {"02"}, ["02", "03", "05"])
    assert parent.head == json.loads((run / "manifest.json").read_text())["ledger"]["head"]


def test_the_spelling_has_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written again by this version, event by event, a run of today's format is the same to the byte."""
    kept = KEPT / f"run-format-{ledgers.FORMAT}"
    raw = (kept / "ledger.jsonl").read_bytes()
    events = [json.loads(line) for line in raw.splitlines()]
    times = iter([datetime.fromisoformat(event["time"].replace("Z", "+00:00")) for event in events])
    monkeypatch.setattr(ledgers, "datetime", SimpleNamespace(now=lambda zone: next(times)))
    ledger = Ledger(tmp_path)
    for event in events:
        fields = {key: value for key, value in event.items() if key not in ("event", "seq", "prev", "time")}
        ledger.append(event["event"], **fields)
    assert (tmp_path / "ledger.jsonl").read_bytes() == raw
    sealed = (kept / "manifest.json").read_bytes()
    assert manifest.make(kept, "lab", SIGNERS[ledgers.FORMAT]) == sealed == manifest.canonical(json.loads(sealed))


def _newer(run: Path, name: str) -> None:
    data = (run / name).read_bytes()
    old, new = (f'"format":{" " * name.startswith("m")}{n}'.encode() for n in (_format(run), ledgers.FORMAT + 1))
    assert old in data
    (run / name).write_bytes(data.replace(old, new, 1))


@pytest.mark.parametrize(
    "read",
    [read_record, read_unbroken, read_parent, lambda run: compare_folders(run, run)],
    ids=["report", "ledger", "resume", "diff"],
)
def test_a_newer_one_is_refused_by_every_reader(run: Path, read: Callable[[Path], Any]) -> None:
    _newer(run, "ledger.jsonl")
    with pytest.raises(UsageError, match="written by a newer swarmbook") as caught:
        read(run)
    newest = ledgers.FORMAT
    assert (caught.value.wanted, caught.value.seen) == (f"format 1 to {newest}", f"format {newest + 1}")
    assert caught.value.next and str(run) in str(caught.value)


@pytest.mark.parametrize("name", ["ledger.jsonl", "manifest.json"])
def test_a_newer_one_is_refused_by_the_audit(run: Path, home: Path, name: str) -> None:
    _newer(run, name)
    report = audit(run, home)
    assert (
        report.exit_code == 2
        and f"{name} was written by a newer swarmbook: format {ledgers.FORMAT + 1}" in report.finding
    )


def test_a_plan_of_an_earlier_format(tmp_path: Path) -> None:
    """A plan is held to the letter, so one of another format is no plan to hold a run to; its run is read all the same."""
    path = KEPT / "plan-format-1.json"
    if plans.FORMAT == 1:
        plan = plans.read_plan(path)
        assert (plan.cluster, len(plan.changes)) == ("lab", 4) and plan.canonical() == path.read_bytes()
        return
    with pytest.raises(UsageError) as caught:
        plans.read_plan(path)
    assert (caught.value.wanted, caught.value.seen) == (f"format {plans.FORMAT}", "format 1")
    assert caught.value.next == "swarmbook plan PARAMS --out FILE" and caught.value.where == str(path)
    done = CliRunner().invoke(main, ["run", "--plan", str(path)])
    assert done.exit_code == 2 and "format 1" in done.output
