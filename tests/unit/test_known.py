"""Known failures: enough of them, each made to happen by a test that looks for its section, and found by the codes of errors."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from swarmbook.base.codes import Code
from swarmbook.base.errors import (
    CommandFailed,
    HostUnreachable,
    LockHeld,
    LoginRefused,
    OutOfOrder,
    ParameterError,
    PlanMismatch,
    SwarmbookError,
    UsageError,
    WorldError,
)
from swarmbook.base.known import Known, find, known, recognise
from swarmbook.cli import main

FAILURES = {failure.name: failure for failure in known()}


def test_there_are_enough_of_them_in_good_shape() -> None:
    assert len(FAILURES) >= 25
    for failure in known():
        assert re.fullmatch(r"[a-z][a-z-]+[a-z]", failure.name)
        assert failure.title[0].isupper() and not failure.title.endswith(".") and failure.means.endswith(".")
        assert failure.codes and "\n" not in failure.means and failure.fix


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


def test_a_code_belongs_to_one_of_them() -> None:
    codes = [code for failure in known() for code in failure.codes]
    assert len(codes) == len(set(codes)) and all(isinstance(code, Code) for code in codes)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OutOfOrder("this is not said in any section"), "out-of-order"),
        (OutOfOrder("run 90 first", code=Code.CLUSTER_STILL_THERE), "cluster-still-there"),
        (LoginRefused("n1"), "login-refused"),
        (ParameterError("wrong"), "parameters-wrong"),
        (LockHeld("n1"), "somebody-works-on-it"),
        (PlanMismatch("n1"), "plan-no-longer-holds"),
        (HostUnreachable("the connection to n1 broke", code=Code.CONNECTION_BROKE), ""),
        (WorldError("does not answer over SSH"), ""),
        (CommandFailed("n1", seen="write /var/lib/docker/x: no space left on device"), "images-do-not-fit"),
        (WorldError("our own sentence: no space left on device"), ""),
    ],
)
def test_it_is_found_by_its_code_and_never_by_our_words(error: SwarmbookError, name: str) -> None:
    found = find(error.code, error.seen)
    assert (found.name if found else "") == name


def test_foreign_words_become_a_code() -> None:
    assert recognise("ApplyLayer exit status 1: write /x: No space left on device") is Code.DISK_FULL
    assert recognise("invalid pool request: Pool overlaps with other one on this address space") is Code.SUBNET_TAKEN
    assert recognise("") is None and recognise("all is well") is None


def test_a_section_is_printed() -> None:
    run = CliRunner().invoke
    assert all(name in run(main, ["explain"]).output for name in FAILURES)
    done = run(main, ["explain", "disk-not-empty"])
    assert done.exit_code == 0 and FAILURES["disk-not-empty"].means in done.output and "wipe_disks" in done.output
    assert FAILURES["somebody-works-on-it"].title in run(main, ["explain", "lock-held"]).output
    done = run(main, ["explain", "disk-not-emtpy"])
    assert done.exit_code == UsageError.exit_code and "did you mean disk-not-empty?" in done.output
