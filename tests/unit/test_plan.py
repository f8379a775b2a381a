"""A plan: its one spelling, its digest, and what it allows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.base.errors import PlanMismatch, UsageError
from swarmbook.model.change import WAITS, Action, Change, Todo, Word, by_host, refuse_unknown
from swarmbook.model.plan import FORMAT, Cost, Plan, PlannedStep, read_plan
from swarmbook.show.changes import _SENTENCES, plan_text, refuse, sentence

SEEN = PlannedStep(
    "02",
    "second disk",
    (
        Change("sw1", Action.LAY_OUT, ("/dev/b", "btrfs", "btrfs:docker")),
        Change("sw1", Action.MOUNT, ("/dev/b", "/data")),
        Change("sw2", Action.WIPE_DISK, ("/dev/b", "ext4"), Word.DESTROY),
    ),
)
FRESH = PlannedStep(
    "03",
    "swarm",
    (
        Change("sw1", Action.INIT_SWARM),
        Change("cluster", Action.SECRET, ("a",)),
        Change("sw2", Action.JOIN_SWARM, ("worker",)),
    ),
    ("sw1", "sw2"),
)
DARK = PlannedStep("04", "Consul", unknown="sw1 is down")
MACHINES = PlannedStep("01", "machines", (Change("sw1", Action.ORDER, ("instance", "0.050 an hour"), Word.ORDER),))
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
    # Why it is done is for a person, and no part of it.
    reasoned = replace(MACHINES, changes=(replace(MACHINES.changes[0], because="it is new"),))
    assert replace(PLAN, steps=(reasoned, *PLAN.steps[1:])).digest == PLAN.digest


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


def held(plan: Plan, phase: str, step: str, changes: Any) -> None:
    """As a step holds its changes to a plan."""
    refuse(plan, phase, step, plan.mismatch(phase, step, list(changes)))


def test_what_it_asks_for() -> None:
    assert PLAN.words() == {Word.ORDER: [MACHINES.changes[0]], Word.DESTROY: [SEEN.changes[2]]}
    assert sentence(MACHINES.changes[0]) == "instance ordered, 0.050 an hour"
    part = PLAN.approved_part()
    assert (part.partial, part.steps) == (True, (MACHINES, SEEN))
    held(part, "03", "swarm", [Change("sw9", Action.INIT_SWARM)])  # of that it does not speak
    with pytest.raises(PlanMismatch):
        held(part, "02", "second disk", [*SEEN.changes, Change("sw1", Action.WIPE_DISK, ("/dev/b",), Word.DESTROY)])


def test_less_than_what_was_approved_may_be_done_but_never_more() -> None:
    """Seen under fire: a destroy that was killed had asked containers to stop, and they were gone before the resumed one began."""
    gone = (
        Change("sw1", Action.REMOVE_CONTAINERS, ("a", "b"), Word.DESTROY),
        Change("sw1", Action.REMOVE_VOLUMES, ("data",), Word.DESTROY),
    )
    plan = Plan("lab", {}, {}, (PlannedStep("90", "destroy", gone),))
    part = plan.approved_part()
    for less in (gone[1:], (), (replace(gone[0], things=("b",)), gone[1])):
        held(part, "90", "destroy", less)
        with pytest.raises(PlanMismatch):  # a plan of one's own is held to the letter
            held(plan, "90", "destroy", less)
    for more in (
        replace(gone[0], things=("a", "b", "c")),
        replace(gone[0], host="sw2"),
        replace(gone[0], action=Action.REMOVE_IMAGES),
        replace(gone[0], word=Word.CANCEL),
        replace(gone[0], word=None),
    ):
        with pytest.raises(PlanMismatch, match="not planned"):
            held(part, "90", "destroy", [*gone, more])


def test_words_do_not_count() -> None:
    """Whether a change was approved is decided on what it touches: a thing whose name reads like another's is another one."""
    approved = Change("sw1", Action.REMOVE_DATA, ("/srv/a b",), Word.DESTROY)
    plan = Plan("lab", {}, {}, (PlannedStep("90", "destroy", (approved,)),)).approved_part()
    for other in (("/srv/a",), ("/srv/a", "b"), ("/srv/a  b",), ("b",)):
        with pytest.raises(PlanMismatch):
            held(plan, "90", "destroy", [replace(approved, things=other)])
    held(plan, "90", "destroy", [replace(approved, because="another reason")])


def test_what_was_observed_has_to_be_just_so() -> None:
    held(PLAN, "02", "second disk", [replace(change, because="x") for change in reversed(SEEN.changes)])
    elsewhere = Change("sw1", Action.MOUNT, ("/dev/b", "/elsewhere"))
    with pytest.raises(PlanMismatch) as caught:
        held(PLAN, "02", "second disk", [SEEN.changes[0], elsewhere, SEEN.changes[2]])
    assert "not planned: sw1: mounted at /elsewhere" in str(caught.value)
    assert "no longer needed: sw1: mounted at /data" in str(caught.value)
    assert PLAN.digest[:20] in str(caught.value) and "swarmbook plan PARAMS" in str(caught.value)
    another_disk = replace(SEEN.changes[2], things=("/dev/c", "ext4"))
    unasked = replace(SEEN.changes[2], word=None)
    for changes in (
        SEEN.changes[:2],
        (),
        (*SEEN.changes, SEEN.changes[0]),
        (*SEEN.changes[:2], another_disk),
        (*SEEN.changes[:2], unasked),
    ):
        with pytest.raises(PlanMismatch):
            held(PLAN, "02", "second disk", changes)


def test_what_was_assumed_may_be_less_but_never_more() -> None:
    held(PLAN, "03", "swarm", FRESH.changes[1:])
    held(
        PLAN, "03", "swarm", [Change("sw2", Action.JOIN_SWARM, ("manager",)), Change("cluster", Action.SECRET, ("b",))]
    )
    held(PLAN, "03", "swarm", [])
    for change in (
        Change("sw2", Action.INIT_SWARM),
        Change("sw1", Action.WIPE_DISK, ("/dev/b", "ext4")),
        Change("cluster", Action.DEPLOY, ("consul_server",)),
        Change("sw3", Action.JOIN_SWARM, ("worker",)),
        Change("sw1", Action.INIT_SWARM, word=Word.DESTROY),
    ):
        with pytest.raises(PlanMismatch, match="not as it was"):
            held(PLAN, "03", "swarm", [*FRESH.changes, change])


def test_what_is_unknown_or_not_named_allows_nothing() -> None:
    held(PLAN, "04", "Consul", [])
    held(PLAN, "07", "Galera", [])
    with pytest.raises(PlanMismatch, match="the world is not as it was") as caught:
        held(PLAN, "04", "Consul", [Change("sw1", Action.PUT_FILES, ("/etc/x",))])
    assert "sw1 is down" in str(caught.value)
    with pytest.raises(PlanMismatch):
        held(PLAN, "07", "Galera", [Change("sw1", Action.BOOTSTRAP)])


# -- changes -----------------------------------------------------------------------------------------------------------


def test_a_misspelt_action_is_no_change() -> None:
    for action in ("wipe", "wipe-disk", None):
        with pytest.raises(TypeError, match="no action"):
            Change("sw1", action)  # type: ignore[arg-type]
    for things in ("/dev/sdb", (1,), [None]):
        with pytest.raises(TypeError, match="things"):
            Change("sw1", Action.WIPE_DISK, things)  # type: ignore[arg-type]


def test_every_action_has_a_sentence() -> None:
    assert set(_SENTENCES) == set(Action)


def test_nothing_that_was_planned_is_skipped_in_silence() -> None:
    changes = [Change("sw1", Action.MOUNT, ("/dev/b", "/data")), Change("sw2", Action.GUARD, ("/dev/b",))]
    with pytest.raises(AssertionError, match="planned and not applied: guard"), Todo(changes) as todo:
        assert todo.take(Action.MOUNT) == changes[:1] and todo.take(Action.MOUNT) == []
    with pytest.raises(AssertionError, match="planned and cannot be applied: guard"):
        refuse_unknown(changes, {Action.MOUNT: None})
    with pytest.raises(ZeroDivisionError), Todo(changes):  # what went wrong is what is raised
        _ = 1 / 0
    assert by_host([*changes, changes[0]]) == {"sw1": [changes[0]] * 2, "sw2": changes[1:]}


names = st.sampled_from(["sw1", "sw2", "cluster"])
changes = st.lists(
    st.builds(
        Change,
        names,
        st.sampled_from([Action.REMOVE_DATA, Action.REMOVE_IMAGES]),
        st.sets(st.sampled_from(["x", "y", "z"]), max_size=2).map(lambda s: tuple(sorted(s))),
        st.sampled_from([None, Word.DESTROY]),
    ),
    max_size=5,
)


@given(changes, changes)
def test_nothing_is_ever_done_that_was_not_planned(planned: list[Change], made: list[Change]) -> None:
    for assumed in ((), ("sw1", "sw2")):
        if PlannedStep("02", "x", tuple(planned), assumed).differs(made):
            continue
        assert {(c.host, c.action, c.word) for c in made} <= {(c.host, c.action, c.word) for c in planned}
        if not assumed:
            assert Counter(made) == Counter(planned)
    part = Plan("lab", {}, {}, (PlannedStep("02", "x", tuple(planned)),), partial=True)
    if not part.mismatch("02", "x", made):
        for change in made:
            assert any(
                (change.host, change.action, change.word) == (p.host, p.action, p.word)
                and set(change.things) <= set(p.things)
                for p in planned
            )


@pytest.mark.parametrize("step", [PlannedStep("07", "x"), PlannedStep("07", "x", unknown="the engine of sw1 is down")])
@pytest.mark.parametrize("wait", sorted(WAITS))
def test_waiting_needs_no_plan_and_may_be_over(step: PlannedStep, wait: Action) -> None:
    change, other = Change("sw1", wait, ("60",)), Change("sw1", Action.RESTART_AGENT, ("consul_server",))
    assert not step.differs([change]) and not replace(step, changes=(change,)).differs([])
    assert step.differs([change, other]).extra == (other,)


@given(changes)
def test_the_planned_is_always_allowed(planned: list[Change]) -> None:
    for assumed in ((), ("sw1",), ("sw1", "sw2")):
        assert not PlannedStep("02", "x", tuple(planned), assumed).differs(planned)


def test_shown() -> None:
    text = plan_text(PLAN)
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
    same = replace(PLAN, steps=(PlannedStep("02", "x", (Change("sw1", Action.ENABLE), Change("sw2", Action.ENABLE))),))
    assert "sw1, sw2" in plan_text(same)
    assert "nothing to change" in plan_text(replace(PLAN, steps=(PlannedStep("02", "x"),)))


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
    for content in (b"", b"[]", b"1", b"{}", b"\xff", raw[:-20], b'{"format": 2, "steps": 3}'):
        broken(path, content, "not a plan")
    for other in (1, FORMAT + 1):
        age = "newer" if other > FORMAT else "older"
        broken(path, json.dumps({**data, "format": other}).encode(), f"{age} swarmbook", f"format {other}")
    unknown = json.dumps(data).replace('"action": "mount"', '"action": "mout"')
    broken(path, unknown.encode(), "not a plan")
    broken(path, json.dumps(data).encode(), "not as swarmbook wrote it")
    broken(path, raw.replace(b'"word": "ORDER"', b'"word":"ORDER"'), "not as swarmbook wrote it")
