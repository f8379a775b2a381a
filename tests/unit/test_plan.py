"""A plan: its one spelling, its digest, and what it allows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.base.errors import PlanMismatch, UsageError
from swarmbook.model.plan import FORMAT, Change, Cost, Plan, PlannedStep, read_plan

SEEN = PlannedStep(
    "02",
    "second disk",
    (
        Change("sw1", "make", "btrfs made"),
        Change("sw1", "mount", "mounted"),
        Change("sw2", "wipe", "wiped", word="DESTROY"),
    ),
)
FRESH = PlannedStep(
    "03",
    "swarm",
    (Change("sw1", "init", "made"), Change("cluster", "secret", "a"), Change("sw2", "join", "as worker")),
    ("sw1", "sw2"),
)
DARK = PlannedStep("04", "Consul", unknown="sw1 is down")
MACHINES = PlannedStep("01", "machines", (Change("sw1", "create", "machine created, 0.050 an hour", word="ORDER"),))
PLAN = Plan("lab", {"nodes": ["sw1", "sw2"], "mariadb_password": "generate"}, {"02": "ab", "03": "cd", "04": "ef"}, (MACHINES, SEEN, FRESH, DARK),
            (Cost("sw1", "a box", 0.05, True), Cost("sw2", "a box", 0.05, False)), "1.0")  # fmt: skip


def test_its_file_has_one_spelling_and_its_digest_is_the_hash_of_it(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    PLAN.save(path)
    assert PLAN.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    again = read_plan(path)
    assert (again, again.digest) == (PLAN, PLAN.digest)
    shuffled = replace(PLAN, parameters=dict(reversed(PLAN.parameters.items())))
    assert shuffled.digest == PLAN.digest
    # What a phase needs for itself is no part of it.
    assert (
        replace(
            PLAN, steps=(replace(MACHINES, changes=(replace(MACHINES.changes[0], data={"x": 1}),)), *PLAN.steps[1:])
        ).digest
        == PLAN.digest
    )


@pytest.mark.parametrize(
    "other",
    [
        {"cluster": "x"},
        {"parameters": {}},
        {"notebooks": {}},
        {"steps": (MACHINES,)},
        {"costs": ()},
        {"swarmbook": "2"},
        {"partial": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_every_part_of_it_counts(other: dict[str, Any]) -> None:
    assert replace(PLAN, **other).digest != PLAN.digest


def test_whose_digest_was_typed() -> None:
    text = PLAN.digest.removeprefix("sha256:")
    for typed in (PLAN.digest, text, text.upper(), f" {text[:16]}\n"):
        assert PLAN.approved_by(typed)
    for typed in ("", "sha256:", text[:15], text[1:], text[:-1] + ("0" if text[-1] != "0" else "1"), text + "0"):
        assert not PLAN.approved_by(typed), typed


def test_what_it_asks_for() -> None:
    assert PLAN.words() == {"ORDER": ["sw1: machine created, 0.050 an hour"], "DESTROY": ["sw2: wiped"]}
    part = PLAN.approved_part()
    assert (part.partial, part.steps) == (True, (MACHINES, SEEN))
    part.hold("03", "swarm", [Change("sw9", "anything")])  # of that it does not speak
    with pytest.raises(PlanMismatch):
        part.hold("02", "second disk", [*SEEN.changes, Change("sw1", "wipe", "wiped", word="DESTROY")])


def test_less_than_what_was_approved_may_be_done_but_never_more() -> None:
    """Seen under fire: a destroy that was killed had asked containers to stop, and they were gone before the resumed one began."""
    gone = (
        Change("sw1", "containers", "containers of a b", word="DESTROY"),
        Change("sw1", "volumes", "volumes: data", word="DESTROY"),
    )
    plan = Plan("lab", {}, {}, (PlannedStep("90", "destroy", gone),))
    part = plan.approved_part()
    for less in (gone[1:], (), (replace(gone[0], detail="containers of b"), gone[1])):
        part.hold("90", "destroy", less)
        with pytest.raises(PlanMismatch):  # a plan of one's own is held to the letter
            plan.hold("90", "destroy", less)
    for more in (
        replace(gone[0], detail="containers of a b c"),
        replace(gone[0], host="sw2"),
        replace(gone[0], action="images"),
    ):
        with pytest.raises(PlanMismatch, match="not planned"):
            part.hold("90", "destroy", [*gone, more])


def test_what_was_observed_has_to_be_just_so() -> None:
    PLAN.hold("02", "second disk", [replace(change, data={"disk": "/dev/x"}) for change in reversed(SEEN.changes)])
    with pytest.raises(PlanMismatch) as caught:
        PLAN.hold("02", "second disk", [SEEN.changes[0], Change("sw1", "mount", "mounted elsewhere"), SEEN.changes[2]])
    assert "not planned: sw1: mounted elsewhere" in str(caught.value) and "no longer needed: sw1: mounted" in str(
        caught.value
    )
    assert PLAN.digest[:20] in str(caught.value) and "swarmbook plan PARAMS" in str(caught.value)
    for changes in (SEEN.changes[:2], (), (*SEEN.changes, SEEN.changes[0])):
        with pytest.raises(PlanMismatch):
            PLAN.hold("02", "second disk", changes)


def test_what_was_assumed_may_be_less_but_never_more() -> None:
    PLAN.hold("03", "swarm", FRESH.changes[1:])
    PLAN.hold("03", "swarm", [Change("sw1", "init", "another detail"), Change("cluster", "secret", "b")])
    PLAN.hold("03", "swarm", [])
    for change in (
        Change("sw2", "init"),
        Change("sw1", "wipe"),
        Change("cluster", "deploy"),
        Change("sw3", "join", "as worker"),
    ):
        with pytest.raises(PlanMismatch, match="not as it was"):
            PLAN.hold("03", "swarm", [*FRESH.changes, change])


def test_what_is_unknown_or_not_named_allows_nothing() -> None:
    PLAN.hold("04", "Consul", [])
    PLAN.hold("07", "Galera", [])
    with pytest.raises(PlanMismatch, match="the world is not as it was") as caught:
        PLAN.hold("04", "Consul", [Change("sw1", "files")])
    assert "sw1 is down" in str(caught.value)
    with pytest.raises(PlanMismatch):
        PLAN.hold("07", "Galera", [Change("sw1", "bootstrap")])


names = st.sampled_from(["sw1", "sw2", "cluster"])
changes = st.lists(st.builds(Change, names, st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"])), max_size=5)


@given(changes, changes)
def test_nothing_is_ever_done_that_was_not_planned(planned: list[Change], made: list[Change]) -> None:
    for assumed in ((), ("sw1", "sw2")):
        extra, missing = PlannedStep("02", "x", tuple(planned), assumed).differs(made)
        if extra or missing:
            continue
        assert {(c.host, c.action) for c in made} <= {(c.host, c.action) for c in planned}
        if not assumed:
            assert sorted((c.host, c.action, c.detail) for c in made) == sorted(
                (c.host, c.action, c.detail) for c in planned
            )


@given(changes)
def test_the_planned_is_always_allowed(planned: list[Change]) -> None:
    for assumed in ((), ("sw1",), ("sw1", "sw2")):
        assert PlannedStep("02", "x", tuple(planned), assumed).differs(planned) == ([], [])


def test_shown() -> None:
    text = PLAN.to_text()
    for words in (
        "sw2",
        "asks for DESTROY",
        "asks for ORDER",
        "assumed",
        "not known yet: sw1 is down",
        "0.050",
        "0.100",
        PLAN.digest,
        "7 changes on 2 hosts, 1 step not known yet",
    ):
        assert words in text, words
    same = replace(PLAN, steps=(PlannedStep("02", "x", (Change("sw1", "a", "made"), Change("sw2", "a", "made"))),))
    assert "sw1, sw2" in same.to_text()
    assert "nothing to change" in replace(PLAN, steps=(PlannedStep("02", "x"),)).to_text()


def broken(path: Path, content: bytes | None, *words: str) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_plan(path)
    assert all(word in str(caught.value) for word in (*words, str(path), "swarmbook plan PARAMS")), str(caught.value)


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    raw = PLAN.canonical()
    data = json.loads(raw)
    broken(path, None, "cannot be read")
    for content in (b"", b"[]", b"1", b"{}", b"\xff", raw[:-20], b'{"format": 1, "steps": 3}'):
        broken(path, content, "not a plan")
    broken(path, json.dumps({**data, "format": FORMAT + 1}).encode(), "another swarmbook")
    broken(path, json.dumps(data).encode(), "not as swarmbook wrote it")
    broken(path, raw.replace(b'"word": "ORDER"', b'"word":"ORDER"'), "not as swarmbook wrote it")
