"""From events to a record: what belongs to which step is decided here, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.book.result import StepResult
from swarmbook.model.change import Action, Change, Word
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.model.ledger import Ledger, read_chain
from swarmbook.model.record import Link, Record
from swarmbook.model.transcript import Command
from swarmbook.record.reader import from_chain, read_record, read_unbroken

Recorded = Callable[..., Path]
Event = tuple[str, Mapping[str, Any]]
YES = asdict(equal("sw1", "mounted", "yes", "yes"))
RUN: Event = (
    "run",
    {
        "format": 1,
        "run": "r",
        "cluster": "c",
        "chapters": [{"number": "02", "name": "a"}, {"number": "03", "name": "b"}],
    },
)


def step(title: str, status: str = "running", number: str = "02", **counts: Any) -> Event:
    return "step", {"number": number, "chapter": "a", "title": title, "status": status, **counts}


def command(text: str) -> Event:
    return "command", {"host": "sw1", "text": text, "exit": 0, "seconds": 0.5, "tail": ""}


def record(folder: Path, *events: Event) -> Record:
    Ledger(folder).extend([RUN, *events])
    return from_chain(folder, read_chain((folder / "ledger.jsonl").read_bytes()))


def test_what_comes_between_begin_and_end_belongs_to_the_step(tmp_path: Path) -> None:
    plan = {"step": "disk", "changes": [{"host": "sw1", "action": "wipe-disk", "things": ["/dev/vdb"], "detail": "wiped", "word": "DESTROY"}]}  # fmt: skip
    found = record(
        tmp_path,
        ("chapter", {"number": "02", "name": "a", "status": "running"}),
        command("before any step"),
        step("One"),
        command("one"),
        ("plan", plan),
        ("check", YES),
        step("One", "completed", changes=1, checks=1, hosts=3, seconds=2.0),
        command("between"),
        step("Two"),
        command("two"),
        ("check", {**YES, "ok": False, "seen": "no"}),
        step("Two", "failed", checks=1, failed=1),
        ("failure", {"number": "02", "what": "CheckFailed", "detail": "d", "code": "check-failed", "lines": ["l"]}),
        ("chapter", {"number": "02", "name": "a", "status": "failed", "seconds": 3.0, "proof": "drifted"}),
    )
    one, two = found.steps
    assert (one.title, one.status, one.hosts, one.changes, one.checks, one.seconds) == ("One", "completed", 3, 1, 1, 2)
    assert [c.text for c in one.commands] == ["one"] and one.checked == (equal("sw1", "mounted", "yes", "yes"),)
    assert [(c.host, c.action, c.sentence, c.word) for c in one.planned] == [("sw1", "wipe-disk", "wiped", "DESTROY")]
    assert [c.text for c in two.commands] == ["two"] and [c.seen for c in two.checked] == ["no"] and not two.planned
    assert [c.text for c in found.commands] == ["before any step", "one", "between", "two"]
    assert [(s.title, c.seen) for s, c in found.checks] == [("One", "yes"), ("Two", "no")]
    assert [(c.number, c.status, c.seconds, c.proof) for c in found.chapters] == [
        ("02", "failed", 3.0, "drifted"),
        ("03", "not-run", 0.0, ""),
    ]
    assert [c.number for c in found.reached] == ["02"] and (found.changes, found.failed) == (1, 1)
    (failure,) = found.failures
    assert failure.text() == "CheckFailed: d\nl" and failure.code == "check-failed"
    assert (found.run, found.cluster, found.status, found.exit_code) == ("r", "c", "running", None)


def test_two_steps_of_one_title(tmp_path: Path) -> None:
    found = record(
        tmp_path,
        step("Same"),
        ("check", YES),
        step("Same", "completed", checks=1),
        step("Same"),
        command("again"),
        step("Same", "completed"),
    )
    assert [(len(s.checked), len(s.commands), s.checks) for s in found.steps] == [(1, 0, 1), (0, 1, 0)]


def test_a_step_that_was_killed_and_one_behind_it(tmp_path: Path) -> None:
    found = record(tmp_path, step("Killed"), ("check", {**YES, "ok": False}), step("Next", number="03"), ("check", YES))
    assert [(s.title, s.status, len(s.checked)) for s in found.steps] == [
        ("Killed", "running", 1),
        ("Next", "running", 1),
    ]
    assert found.failed == 1, "it did not live to count them"
    assert [len(c.steps) for c in found.chapters] == [1, 1]


def test_a_check_outside_of_any_step_is_of_none(tmp_path: Path) -> None:
    assert record(tmp_path, ("check", YES), step("One"), step("One", "completed"), ("check", YES)).checks == ()


def test_plans_and_approvals_are_two_things(tmp_path: Path) -> None:
    found = record(
        tmp_path,
        ("plan", {"digest": "sha256:abc", "changes": 7, "partial": True, "file": "plan.json"}),
        ("approval", {"word": Word.ORDER, "by": "ana@desk", "how": "typed", "what": ["sw1: a machine"], "digest": "x"}),
    )
    assert found.plan is not None and (found.plan.digest, found.plan.changes, found.plan.partial) == (
        "sha256:abc",
        7,
        True,
    )
    (approval,) = found.approvals
    assert (approval.word, approval.by, approval.how, approval.what) == (
        "ORDER",
        "ana@desk",
        "typed",
        ("sw1: a machine",),
    )


def test_codes_parents_and_notes(tmp_path: Path) -> None:
    Ledger(tmp_path).append("run", format=1, parent={"run": "p", "status": "failed", "head": "h"}, note="a rehearsal")
    Ledger(tmp_path).extend(
        [step("One"), ("check", {**YES, "code": "disk-full"}), ("check", {**YES, "code": "of-a-later-swarmbook"})]
    )
    found = read_record(tmp_path)
    assert found.parent == Link("p", "failed", "h") and found.note == "a rehearsal"
    assert [c.code for _, c in found.checks] == [Code.DISK_FULL, Code.CHECK_FAILED]


def test_a_torn_line_is_no_failure_of_the_run(tmp_path: Path) -> None:
    Ledger(tmp_path).extend([RUN, step("One")])
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b'{"event":"chec')
    Ledger(tmp_path).append("check", **YES)
    found = read_record(tmp_path)
    assert (found.failures, found.broken, len(found.checks)) == ((), "", 1)


def test_what_a_later_swarmbook_may_add_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text(
        '{"event": "run", "format": 1, "run": "r"}\n{"event": "dream"}\n[1]\n{"event": 3}\n'
    )
    found = read_record(tmp_path)
    assert found.run == "r" and found.broken.startswith("line 1")


def test_the_ledger_alone_has_to_hold_together(cluster: Cluster, recorded: Recorded) -> None:
    folder = recorded(cluster)
    strict, whole = read_unbroken(folder), read_record(folder)
    assert strict.checks and [c for _, c in strict.checks] == [c for _, c in whole.checks]
    assert (strict.head, strict.run) == (whole.head, "one")
    raw = (folder / "ledger.jsonl").read_bytes()
    (folder / "ledger.jsonl").write_bytes(raw.replace(b"mounted", b"counted", 1))
    assert "was changed" in read_record(folder).broken
    with pytest.raises(UsageError, match="does not fit"):
        read_unbroken(folder)


def test_an_event_of_odd_shape(tmp_path: Path) -> None:
    Ledger(tmp_path).extend([("run", {"format": 1, "run": "r", "chapters": [1]})])
    for read in (read_record, read_unbroken):
        with pytest.raises(UsageError) as caught:
            read(tmp_path)
        assert caught.value.next == f"swarmbook audit {tmp_path}" and caught.value.exit_code == 2


RESULT = StepResult(
    (Change("sw1", Action.LABEL, ("a=b",)), Change("sw2", Action.WIPE_DISK, ("/dev/vdb",), Word.DESTROY)),
    CheckTable([equal("sw1", "label", "b", "b"), Check("sw2", "disk", "empty", "data", False, Code.DISK_NOT_EMPTY)]),
    (Command("sw1", "docker node update", 0, 0.5, "", 1e9), Command("sw2", "wipefs", 1, 0.25, "busy", 1e9 + 1)),
    3,
    1.5,
)


def _executed(folder: Path, *bundles: Mapping[str, Any]) -> None:
    new = nbformat.v4
    nb = new.new_notebook(metadata={"papermill": {"parameters": {"nodes": ["sw1"]}}})
    for at, bundle in enumerate(bundles):
        done = {"status": "completed", "start_time": f"2026-11-25T09:00:0{at}+00:00", "duration": 0.9}
        output = new.new_output("display_data", dict(bundle))
        nb.cells += [new.new_markdown_cell(f"## Step {at}"), new.new_code_cell("x", outputs=[output])]
        nb.cells[-1].metadata.papermill = done
    nbformat.write(nb, folder / "02_a.ipynb")


def test_without_a_ledger_the_notebook_tells_the_same(tmp_path: Path) -> None:
    _executed(tmp_path, RESULT._repr_mimebundle_(), {"text/plain": "no step of ours"})
    chapter = {"number": "02", "name": "a", "status": "completed", "seconds": 2.0, "error": None, "steps": []}
    summary = {"status": "completed", "exit_code": 0, "seconds": 2.0, "changes": 2, "chapters": [chapter]}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    found = read_record(tmp_path)
    first, second = found.steps
    assert (first.title, first.hosts, first.changes, first.checks, first.failed) == ("Step 0", 3, 2, 2, 1)
    assert first.summary.startswith("2 changed: node label a=b (sw1); ") and (second.checks, second.summary) == (0, "")
    assert first.checked == tuple(RESULT.table.checks) and first.commands == RESULT.commands  # type: ignore[attr-defined]
    assert [c.began for c in first.commands] == [1e9, 1e9 + 1] and found.commands == first.commands
    assert [(c.host, c.action, c.word) for c in first.planned] == [
        ("sw1", "label", ""),
        ("sw2", "wipe-disk", "DESTROY"),
    ]
    assert (found.status, found.exit_code, found.seconds, found.parameters) == ("completed", 0, 2.0, {"nodes": ["sw1"]})
    assert found.broken == "there is none" and found.began == first.began > 0


def test_what_the_notebook_shows_does_not_overrule_the_ledger(tmp_path: Path) -> None:
    _executed(tmp_path, RESULT._repr_mimebundle_(), RESULT._repr_mimebundle_())
    Ledger(tmp_path).extend([RUN, step("Step 0"), ("check", YES), step("Step 0", "failed", checks=1, seconds=4.0)])
    first, second = read_record(tmp_path).steps
    assert (first.status, first.checks, first.seconds, len(first.checked)) == ("failed", 1, 4.0, 1)
    assert first.summary, "that only the notebook has"
    assert (second.title, second.checked, second.commands, second.planned) == ("Step 1", (), (), ())
