"""Tables show themselves, and a failed check ends the step with its name."""

from __future__ import annotations

import pytest

from swarmbook.base.errors import CheckFailed
from swarmbook.base.secrets import MASK, register
from swarmbook.model.checks import Check, CheckTable, Table, equal

GOOD = equal("sw1", "role", "manager", "manager")
BAD = equal("sw2", "nodes", 3, 2)


def test_equal_compares_as_text() -> None:
    assert equal("a", "n", 3, "3").ok
    assert not equal("a", "n", True, "true").ok
    assert Check("sw2", "nodes", "3", "2", False) == BAD


def test_text() -> None:
    assert CheckTable([GOOD, BAD]).to_text() == (
        "host  check  wanted   seen     result\n"
        "sw1   role   manager  manager  ok\n"
        "sw2   nodes  3        2        FAILED"
    )  # fmt: skip
    assert Table(["only", "head"], []).to_text() == "only  head"


def test_html_is_escaped() -> None:
    page = Table(["a<b"], [["<script>"]])._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert ">a&lt;b</th>" in page


def test_json_and_frame() -> None:
    table = CheckTable([GOOD, BAD])
    assert table.to_json()[1] == {"host": "sw2", "name": "nodes", "wanted": "3", "seen": "2", "ok": False}
    assert Table(["a", "b"], [[1, "x"]]).to_json() == [{"a": "1", "b": "x"}]
    assert list(table.frame.columns) == ["host", "check", "wanted", "seen", "result"]
    assert list(table.frame["result"]) == ["ok", "FAILED"]


def test_nothing_shows_a_secret() -> None:
    register("s3cr3t-value")
    table = CheckTable([equal("sw1", "s3cr3t-value", "s3cr3t-value", "not s3cr3t-value")])
    with pytest.raises(CheckFailed) as caught:
        table.raise_for_failures("next")
    for shown in (
        table.to_text(),
        table.to_html(),
        str(table.to_json()),
        repr(table),
        table.frame.to_string(),
        str(caught.value),
    ):
        assert MASK in shown
        assert "s3cr3t-value" not in shown


def test_all_fine() -> None:
    table = CheckTable([GOOD])
    assert table.failed == []
    table.raise_for_failures("next")


def test_failures_are_named_with_the_next_command() -> None:
    with pytest.raises(CheckFailed, match="2 of 3 checks failed") as caught:
        CheckTable([GOOD, BAD, equal("sw2", "leaders", 1, 0)]).raise_for_failures("swarmbook run PARAMS --from 03")
    error = caught.value
    assert (error.exit_code, error.where, error.next) == (1, "sw2", "swarmbook run PARAMS --from 03")
    assert "sw2: nodes: wanted 3, seen 2" in str(error)
    assert "sw2: leaders: wanted 1, seen 0" in str(error)


def test_a_single_check_is_not_counted() -> None:
    with pytest.raises(CheckFailed, match=r"^the check failed"):
        CheckTable([BAD]).raise_for_failures("next")
