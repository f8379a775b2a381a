"""A step's data in its notebook: whole, small, masked, and the same again where a step only looks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.base.secrets import MASK, register
from swarmbook.book.result import StepResult
from swarmbook.model.change import Action, Change
from swarmbook.model.checks import Check, CheckTable, Table, equal
from swarmbook.model.results import Counts, RecordedChange
from swarmbook.model.step_output import FORMAT, STEP_MIME, StepOutput, read_outputs
from swarmbook.model.transcript import Command

TEXT = st.text(max_size=20)
OUTPUTS = st.builds(
    StepOutput,
    summary=TEXT,
    counts=st.just(Counts()),
    changes=st.lists(st.builds(RecordedChange, TEXT, TEXT, TEXT, TEXT), max_size=3).map(tuple),
    checks=st.lists(st.builds(Check, TEXT, TEXT, TEXT, TEXT, st.booleans()), max_size=3).map(tuple),
    columns=st.lists(TEXT, min_size=1, max_size=2).map(tuple),
    rows=st.lists(st.lists(TEXT, max_size=2).map(tuple), max_size=2).map(tuple),
    stopped=st.booleans(),
)


def bundle(result: StepResult) -> dict[str, Any]:
    shown = result._repr_mimebundle_()
    return {"output_type": "display_data", "data": json.loads(json.dumps(shown))}


@given(OUTPUTS)
def test_what_is_written_is_read(output: StepOutput) -> None:
    data = json.loads(json.dumps(output.to_json()))
    found = StepOutput.from_json(data)
    assert data["format"] == FORMAT.newest
    assert (found.summary, found.changes, found.checks, found.stopped) == (
        output.summary, output.changes, output.checks, output.stopped
    )  # fmt: skip
    assert (found.columns, found.rows) == (output.columns, output.rows)
    assert (found.counts.changes, found.counts.checks) == (len(output.changes), len(output.checks))


def test_a_command_on_several_hosts_stands_there_once() -> None:
    commands = tuple(Command(f"sw{n}", "apt-get install x", 0, 0.5 + n, "", 100.0 + n) for n in range(7))
    data = StepOutput(commands=(*commands, Command("sw1", "other", 1, 0.1, "end", 99.0))).to_json()
    assert [(c["text"], c["exit"], len(c["ran"])) for c in data["commands"]] == [
        ("apt-get install x", 0, 7),
        ("other", 1, 1),
    ]
    assert "tail" not in data["commands"][0] and data["commands"][1]["tail"] == "end"
    found = StepOutput.from_json(data).commands
    assert [(c.host, c.text, c.seconds, c.began) for c in found[1:]] == [
        (c.host, c.text, c.seconds, c.began) for c in commands
    ]
    assert found[0].text == "other", "in the order in which they began"


def test_a_long_command_is_cut_after_it_was_masked() -> None:
    register("s3cr3t-value")
    text = "x" * 595 + "s3cr3t-value" + "y" * 9000
    (command,) = StepOutput(commands=(Command("sw1", text, 0, 0.1),)).to_json()["commands"]
    assert len(command["text"]) < 650 and "characters more" in command["text"] and "s3cr3" not in command["text"]


def test_the_data_of_a_step_is_smaller_than_its_page() -> None:
    checks = [equal(f"sw{n}", f"check {c}", "yes", "yes") for n in range(7) for c in range(10)]
    script = "set -e\n" + "\n".join(f"echo line {n} > /etc/file-{n}" for n in range(400))
    commands = tuple(Command(f"sw{n}", script, 0, 0.5, "", 1.0) for n in range(7))
    shown = StepResult((), CheckTable(checks), commands, 7, 2.0)._repr_mimebundle_()
    assert len(json.dumps(shown[STEP_MIME])) < len(shown["text/html"]) / 5


def test_a_step_that_only_looks_says_the_same_again() -> None:
    def looked(seconds: float, probe: str) -> dict[str, Any]:
        ran = (Command("sw1", f"docker run --name {probe}", 0, seconds, "", seconds),)
        table = Table(["host", "state"], [["sw1", "up"]])
        data: dict[str, Any] = StepResult((), table, ran, 1, seconds, looked=True)._repr_mimebundle_()[STEP_MIME]
        return data

    assert looked(0.1, "probe-1") == looked(0.9, "probe-2")
    assert looked(0.1, "x")["table"] == {"columns": ["host", "state"], "rows": [["sw1", "up"]]}


def test_everything_in_it_is_masked() -> None:
    register("s3cr3t-value")
    result = StepResult(
        (Change("sw1", Action.LABEL, ("s3cr3t-value",)),),
        CheckTable([equal("sw1", "s3cr3t-value", "s3cr3t-value", "s3cr3t-value")]),
        (Command("sw1", "echo s3cr3t-value", 1, 0.1, "s3cr3t-value"),),
        1,
        0.1,
    )
    text = json.dumps(bundle(result)["data"][STEP_MIME])
    assert "s3cr3t" not in text and text.count(MASK) == 7
    table = StepResult((), Table(["s"], [["s3cr3t-value"]]), (), 1, 0.1)
    assert "s3cr3t" not in json.dumps(bundle(table))


def test_format_1_held_counts() -> None:
    old = {"data": {STEP_MIME: {"hosts": 3, "changes": 2, "checks": 4, "failed": 1}}}
    assert read_outputs([old]) == StepOutput(counts=Counts(3, 2, 4, 1))
    assert read_outputs([old, {"name": "stdout"}, old]).counts == Counts(6, 4, 8, 2)


@pytest.mark.parametrize("data", [{"format": 99, "hosts": 3}, {"format": "x"}, {}])
def test_what_it_cannot_read_counts_nothing(data: dict[str, Any]) -> None:
    assert read_outputs([{"data": {STEP_MIME: data}}]) == StepOutput()
    assert read_outputs([]) == read_outputs([{"data": {STEP_MIME: "text"}}]) == StepOutput()


def test_a_failed_step_and_what_it_showed_before_are_one() -> None:
    first = StepResult((Change("sw1", Action.LABEL, ("a",)),), Table([], []), (), 3, 1.0)
    second = StepResult((), CheckTable([equal("sw1", "x", 1, 2)]), (), 3, 1.0, stopped=True)
    found = read_outputs([bundle(first), bundle(second)])
    assert (len(found.changes), len(found.checks), found.counts.failed, found.stopped) == (1, 1, 1, True)
    assert found.summary.startswith("1 changed: ") and found.summary.endswith("not done twice.")
