"""Two runs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import UsageError
from swarmbook.cli import main
from swarmbook.model.checks import Check
from swarmbook.model.ledger import FILE
from swarmbook.record.diff import State
from swarmbook.record.diff import compare_folders as compare
from swarmbook.record.reader import read_record
from swarmbook.record.report import report_html

Recorded = Callable[..., Path]
YES = Check("sw1", "mounted", "yes", "yes", True)


def test_nothing_but_the_same(cluster: Cluster, recorded: Recorded) -> None:
    found = compare(recorded(cluster, "a"), recorded(cluster, "b"))
    assert (found.differences, found.exit_code) == ((), 0)
    assert found.to_text() == (
        "parameters: 2 same, 0 changed, 0 new, 0 gone\nchecks: 4 same, 0 changed, 0 fixed, 0 broke, 0 new, 0 gone"
    )


def test_what_differs(cluster: Cluster, recorded: Recorded) -> None:
    a = recorded(
        cluster,
        "a",
        checks=[YES, Check("sw2", "size", "3", "3", True), YES],
        parameters={"x": 1, "y": [1], "gone": "g"},
    )
    b = recorded(
        cluster,
        "b",
        checks=[YES, Check("sw2", "size", "3", "2", False), Check("sw3", "size", "3", "3", True)],
        parameters={"x": 1, "y": [2], "z": None},
    )
    found = compare(a, b)
    assert found.exit_code == 1
    assert found.counts == {
        "parameter": {"same": 1, "changed": 1, "new": 1, "gone": 1},
        "check": {"same": 2, "changed": 0, "fixed": 0, "broke": 2, "new": 2, "gone": 2},
    }
    first = [
        (d.state, d.chapter, d.step, d.host, d.name, d.before, d.after)
        for d in found.differences
        if d.chapter.startswith("02")
    ]
    step = ("02 post_provision", "Step 0")
    assert first == [
        ("broke", *step, "sw2", "size", "3", "2 (FAILED, wanted 3)"),
        ("new", *step, "sw3", "size", "", "3"),
        ("gone", *step, "sw1", "mounted (2)", "yes", ""),
    ]
    assert [(d.state, d.name, d.before, d.after) for d in found.differences if d.kind == "parameter"] == [
        ("changed", "y", "[1]", "[2]"),
        ("new", "z", "", "null"),
        ("gone", "gone", '"g"', ""),
    ]
    text = found.to_text().splitlines()
    assert text[0].split() == ["state", "where", "what", "a", "b"]
    assert (
        "02 post_provision / Step 0 / sw2" in found.to_text()
        and text[-1] == "checks: 2 same, 0 changed, 0 fixed, 2 broke, 2 new, 2 gone"
    )
    mirrored = compare(b, a)
    assert {(d.name, d.before, d.after) for d in found.differences} == {
        (d.name, d.after, d.before) for d in mirrored.differences
    }


CHECKS = st.lists(
    st.builds(
        Check,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["x", "y"]),
        st.just("1"),
        st.sampled_from(["1", "2"]),
        st.booleans(),
    ),
    max_size=5,
)


@given(CHECKS, CHECKS)
def test_the_counts_add_up(
    tmp_path_factory: pytest.TempPathFactory, recorded: Recorded, old: list[Check], new: list[Check]
) -> None:
    root = tmp_path_factory.mktemp("home")
    found = compare(recorded(Cluster("c", root), "a", checks=old), recorded(Cluster("c", root), "b", checks=new))
    counts = found.counts["check"]
    both = sum(counts[state] for state in (State.SAME, State.CHANGED, State.FIXED, State.BROKE))
    assert both + counts[State.GONE] == 2 * len(old)
    assert both + counts[State.NEW] == 2 * len(new)
    assert sum(counts.values()) - counts[State.SAME] == len(found.differences)
    assert found.exit_code == int(by_name(old) != by_name(new))


def by_name(checks: list[Check]) -> dict[tuple[str, str], list[Check]]:
    """What a comparison goes by: the order counts only among checks of one host and name."""
    found: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        found.setdefault((check.host, check.name), []).append(check)
    return found


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [
        (YES, YES, State.SAME),
        (YES, replace(YES, seen="no", ok=False), State.BROKE),
        (replace(YES, seen="no", ok=False), YES, State.FIXED),
        (replace(YES, wanted="2", seen="2"), replace(YES, wanted="3", seen="3"), State.CHANGED),
        (replace(YES, ok=False, seen="1"), replace(YES, ok=False, seen="2"), State.CHANGED),
        (None, YES, State.NEW),
        (YES, None, State.GONE),
    ],
)
def test_one_word_for_each_difference(
    cluster: Cluster, recorded: Recorded, old: Check | None, new: Check | None, state: State
) -> None:
    a = recorded(cluster, "a", checks=[old] if old else [])
    b = recorded(cluster, "b", checks=[new] if new else [])
    found = compare(a, b)
    assert {name: number for name, number in found.counts["check"].items() if number} == {state: 2}
    assert [d.state for d in found.differences] == ([] if state is State.SAME else [state, state])
    assert {d["state"] for d in found.to_json()["differences"]} <= {state.value}
    page = report_html(read_record(b), before=read_record(a))
    assert f"1 {state}" not in page and f"2 {state}" in page, "the report uses the same words and numbers"


def test_only_what_both_ran_is_compared_in_a_report(cluster: Cluster, recorded: Recorded) -> None:
    a, b = recorded(cluster, "a", status="failed"), recorded(cluster, "b")
    assert compare(a, b).counts["check"][State.NEW] == 2
    assert "2 same, 0 changed, 0 fixed, 0 broke, 0 new, 0 gone" in report_html(read_record(b), before=read_record(a))


def test_the_command(cluster: Cluster, recorded: Recorded, home: Path) -> None:
    a, b = recorded(cluster, "a"), recorded(cluster, "b", checks=[YES])
    cli = CliRunner()
    assert cli.invoke(main, ["diff", str(a), str(a)]).exit_code == 0
    done = cli.invoke(main, ["diff", str(a), str(b), "--json"])
    assert done.exit_code == 1 and json.loads(done.output)["counts"]["check"]["gone"] == 2
    done = cli.invoke(main, ["diff", str(a), str(home)])
    assert done.exit_code == 2 and "this is not a run folder" in done.output
    (b / FILE).write_bytes((b / FILE).read_bytes().replace(b"mounted", b"counted"))
    with pytest.raises(UsageError, match="swarmbook audit"):
        compare(a, b)
