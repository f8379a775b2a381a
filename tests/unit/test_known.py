"""Known failures: enough of them, each made to happen by a test that looks for its section, and found by the words that errors use."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from swarmbook.base.errors import HostUnreachable, UsageError, WorldError
from swarmbook.base.known import Known, find, known
from swarmbook.cli import main

FAILURES = {failure.name: failure for failure in known()}


def test_there_are_enough_of_them_in_good_shape() -> None:
    assert len(FAILURES) >= 25
    for failure in known():
        assert re.fullmatch(r"[a-z][a-z-]+[a-z]", failure.name)
        assert failure.title[0].isupper() and not failure.title.endswith(".") and failure.means.endswith(".")
        assert re.compile(failure.says) and "\n" not in failure.means and failure.mend


@pytest.mark.parametrize("failure", known(), ids=FAILURES)
def test_each_is_made_to_happen_by_a_test_that_sees_its_section_named(failure: Known, root: Path) -> None:
    path, _, name = failure.test.partition("::")
    source = (root / path).read_text()
    function = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name)
    assert f"swarmbook explain {failure.name}" in ast.get_source_segment(source, function)  # type: ignore[operator]


def test_an_error_says_what_is_known_of_it() -> None:
    error = HostUnreachable(
        "n1 does not answer over SSH", where="n1 (root@10.0.0.1:22)", seen="timed out", next="swarmbook status PARAMS"
    )
    lines = str(error).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["where", "seen", "means", "next", "more"]
    assert lines[-1].endswith("swarmbook explain host-unreachable")
    assert "means" not in str(WorldError("the moon is in the way"))


def test_the_nearest_one_is_found() -> None:
    for text, name in {
        "no machine: run 01 first": "out-of-order",
        "run 90 first: h1 still carries the cluster": "cluster-still-there",
        "sw1 does not accept the cluster's SSH key": "login-refused",
        "1 mistake in the parameters; nothing was touched": "parameters-wrong",
        "no node sw9 in cluster lab": "node-unknown",
    }.items():
        assert (found := find(text)) is not None and found.name == name, text
    assert find("") is None


def test_a_section_is_printed() -> None:
    run = CliRunner().invoke
    assert all(name in run(main, ["explain"]).output for name in FAILURES)
    done = run(main, ["explain", "disk-not-empty"])
    assert done.exit_code == 0 and FAILURES["disk-not-empty"].means in done.output and "wipe_disks" in done.output
    done = run(main, ["explain", "disk-not-emtpy"])
    assert done.exit_code == UsageError.exit_code and "did you mean disk-not-empty?" in done.output
