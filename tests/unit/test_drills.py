"""What drills conclude from what members said, and the page that is made of it."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.application.tally import Commit
from swarmbook.base.errors import UsageError
from swarmbook.params import Params
from swarmbook.phases.drill.course import Result
from swarmbook.phases.drill.faults import FAULTS
from swarmbook.phases.drill.moments import Look, detected, overlap, whole
from swarmbook.phases.drill.stage import Stage
from swarmbook.phases.drill.step import result_checks
from tools.drills.page import page, rows

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"cores": 2, "memory_gib": 23.5, "kernel": "6.18"}


def fine(*moments: float, size: int = 3) -> list[Look]:
    return [Look(at, "Synced", size) for at in moments]


def test_the_first_other_member_that_sees_it_detects_it() -> None:
    looks = {
        "sw1": [*fine(0, 1), Look(2.5), *fine(9)],
        "sw2": [*fine(0, 1, 2), *fine(4, size=2)],
        "sw3": [*fine(0, 1), *fine(3.5, size=2)],
    }
    assert detected(looks, ["sw1"], 1.5) == 2.0
    assert detected(looks, ["sw1", "sw3"], 1.5) == 2.5
    assert detected({name: fine(0, 1, 2) for name in looks}, ["sw1"], 0.5) is None


def test_where_all_were_hit_any_of_them_detects_it() -> None:
    looks = {"sw1": [*fine(0), Look(2)], "sw2": [*fine(0), Look(1), Look(3, "Initialized", 0)]}
    assert detected(looks, ["sw1", "sw2"], 0.5) == 2.5


def test_whole_is_the_last_time_that_it_became_so() -> None:
    looks = {
        "sw1": [*fine(1, 2), Look(3), *fine(4, 5), Look(6, "Joined", 3), *fine(7, 8)],
        "sw2": fine(1, 2, 3, 4, 5, 6, 7, 8),
        "sw3": [*fine(1, 2), Look(3, "Synced", 2), *fine(4, 5, 6, 7)],
    }
    assert whole(looks, 2.0) == 5.0
    assert whole(looks, 7.0) == 0.0
    assert whole({**looks, "sw2": [*looks["sw2"], Look(9)]}, 2.0) is None
    assert whole({**looks, "sw2": fine(1)}, 2.0) is None, "no word since the fault is no good word"


@given(
    st.lists(st.tuples(st.sampled_from(["Synced", "Joined", ""]), st.integers(0, 3)), min_size=1, max_size=12),
    st.integers(0, 12),
)
def test_after_whole_nothing_was_otherwise(said: list[tuple[str, int]], at: int) -> None:
    looks = {"sw1": [Look(number, *one) for number, one in enumerate(said)]}
    found = whole(looks, at)
    after = [look for look in looks["sw1"] if look.at >= at]
    if found is None:
        assert not after or not after[-1].is_whole(1)
    else:
        assert all(look.is_whole(1) for look in after if look.at >= at + found)


def by(member: str, *moments: float) -> list[Commit]:
    return [Commit(at, 0.01, member=member) for at in moments]


def test_a_handover_is_no_overlap_and_two_writers_are() -> None:
    old = by("sw1", 0.1, 0.5, 1.2)
    assert overlap([*old, *by("sw2", 1.6, 2.0, 2.4)]) == 0.0
    assert overlap([*by("sw2", 0.9, 1.6, 2.0), *old]) == pytest.approx(0.3)
    assert overlap([*old, *by("sw2", 2.0, 3.0), *by("sw1", 4.0, 5.0)]) == 0.0, (
        "it was the writer twice, with another in between"
    )
    assert overlap(old) == 0.0 == overlap([])


RESULT = Result("kill", 1, "sw1", 2.1, 2.5, 2.7, 9.0, 1000, 4, 0, 1, 3, 500, 0.0, True)


def test_what_is_lost_cannot_be_overlooked() -> None:
    good, bad = (
        RESULT,
        replace(
            RESULT, seed=2, kept=False, wrong=("sw2, commits acknowledged, and there: wanted 1000, seen 1 not there",)
        ),
    )
    assert rows([good])[1][-1] == "none" and rows([good, bad])[1][-1] == "SOME"
    text = page([good, bad], MACHINE, "2026-11-28")
    assert "1 not there" in text and "Nothing that was acknowledged" not in text
    assert "1000 of 1000 commits" in page([good], MACHINE, "2026-11-28")


def test_a_cluster_that_never_became_whole_is_said_to_be_so() -> None:
    row = rows([RESULT, replace(RESULT, seed=2, whole_s=None), replace(RESULT, seed=3, whole_s=11.0)])[1]
    assert "10.0 / 11.0 s, 1 never" in row and "2.1 / 2.1 s" in row


def test_the_schema_knows_each_fault() -> None:
    assert set(get_args(Params.model_fields["drill_fault"].annotation)) == set(FAULTS)


def test_rows_of_a_drill_fail_where_the_cluster_is_not_whole_by_itself() -> None:
    assert all(row.ok for row in result_checks(RESULT))
    bad = [row for row in result_checks(replace(RESULT, whole_s=None, wrong=("sw2: no answer",))) if not row.ok]
    assert [row.seen for row in bad] == ["no: sw2: no answer"]


def test_a_fault_that_could_not_be_done_fails_though_the_cluster_is_whole() -> None:
    bad = [row for row in result_checks(replace(RESULT, not_done="no iptables: sh: not found")) if not row.ok]
    assert [(row.name, row.seen) for row in bad] == [("the fault was done", "no iptables: sh: not found")]


def test_only_labs_are_broken() -> None:
    book: Any = SimpleNamespace(
        params=SimpleNamespace(provider="softlayer", cluster="shop"), cluster=SimpleNamespace(name="shop")
    )
    with pytest.raises(UsageError, match="labs only") as caught:
        Stage(book, random.Random(1))
    assert "provider: softlayer" in str(caught.value) and "swarmbook drill params/lab.yaml" in str(caught.value)


def test_the_page_is_what_its_figures_make() -> None:
    data = json.loads((ROOT / "docs" / "drills.json").read_text())
    results = [Result(**{**one, "wrong": tuple(one["wrong"])}) for one in data["drills"]]
    assert (ROOT / "docs" / "what-happens-when.md").read_text() == page(results, data["machine"], data["date"])
    assert {one.fault for one in results} <= set(FAULTS) and all(one.kept for one in results)
    late = {fault.what for name, fault in FAULTS.items() if name not in {one.fault for one in results}}
    assert all(f"- {what}. Not yet" in page(results, data["machine"], data["date"]) for what in late)
    assert asdict(results[0]) == {**data["drills"][0], "wrong": tuple(data["drills"][0]["wrong"])}
