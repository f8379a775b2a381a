"""The main job, by the very commands that README gives: `make run` from nothing to a verified cluster, again, and `make destroy`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Done, Lab

NODES = ["sw1", "sw2", "sw3"]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES)


def built(lab: Lab) -> Done:
    return lab.need(lambda: lab.make("run"))


def test_make_run(lab: Lab) -> None:
    built(lab).expect(0, "How to reach it:", 'eval "$(swarmbook env sw1)"')
    summary = lab.summary()
    assert (summary["status"], summary["exit_code"]) == ("completed", 0)
    assert [chapter["number"] for chapter in summary["chapters"]] == ["01", "02", "03", "04", "05", "06", "07", "08"]
    steps = [step for chapter in summary["chapters"] for step in chapter["steps"]]
    assert summary["changes"] > 0 and all((step["status"], step["failed"]) == ("completed", 0) for step in steps), steps


def test_it_can_be_reached(lab: Lab) -> None:
    built(lab)
    lab.book("verify", "--quiet").expect(0, f"{lab.name}: ", " 0 failed; ")
    rows = lab.book("status", "--json").expect(0).json
    assert [(row["node"], row["galera"]) for row in rows] == [(node, "Synced, Primary") for node in NODES]
    assert lab.ssh("sw1", "hostname").expect(0).out.strip() == "sw1"


def test_make_run_again_changes_nothing(lab: Lab) -> None:
    built(lab)
    runs = len(lab.runs)
    lab.make("run").expect(0, "How to reach it:")
    assert len(lab.runs) == runs + 1 and lab.summary()["changes"] == 0


def test_make_destroy_leaves_nothing(lab: Lab) -> None:
    built(lab)
    assert len(lab.leftovers()) == 2 * len(NODES) + 1
    lab.make("destroy").expect(0, *NODES)
    assert lab.leftovers() == [] and not lab.folder.exists()
    lab.unbuilt()
