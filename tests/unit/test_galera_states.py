"""How members' states went: what was seen from outside, and Galera's own word where there is one."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import WorldError
from swarmbook.book.book import Book
from swarmbook.params import Params
from swarmbook.phases.galera import states as galera_states
from swarmbook.phases.galera.members import Galera, Member, Wsrep
from swarmbook.phases.galera.states import course, read_shifts, states_shown

NOON = 1795608000.0  # 2026-11-25T12:00:00Z


def test_a_log_is_read_as_docker_writes_it() -> None:
    output = """2026-11-25T12:00:01.250000000Z OPEN
2026-11-25T12:00:01.500000001Z PRIMARY
2026-11-25T12:00:02.000000000Z JOINER
2026-11-25T12:00:03.123456789Z DONOR/DESYNCED
"""
    assert read_shifts(output) == [(NOON + 2.0, "Joiner"), (NOON + 3.123456, "Donor")], "before that it starts"
    assert read_shifts("") == []


def test_founding_and_joining() -> None:
    samples = [
        (NOON + 0, "sw1", "not running"), (NOON + 1, "sw1", "starting"), (NOON + 3, "sw1", "Synced"),
        (NOON + 4, "sw2", "starting"), (NOON + 7, "sw2", "starting"), (NOON + 9, "sw2", "Synced"),
    ]  # fmt: skip
    shifts = {
        "sw1": [
            (NOON + 2, "Joined"),
            (NOON + 2.1, "Synced"),
            (NOON + 5.2, "Donor"),
            (NOON + 6, "Joined"),
            (NOON + 6.1, "Synced"),
        ],
        "sw2": [(NOON + 5, "Joiner"), (NOON + 8, "Joined"), (NOON + 8.2, "Synced")],
    }
    assert course(samples, shifts) == [
        (0, "sw1", "not running"), (1, "sw1", "starting"), (2, "sw1", "Joined"), (NOON + 2.1 - NOON, "sw1", "Synced"), (4, "sw2", "starting"), (5, "sw2", "Joiner"),
        (NOON + 5.2 - NOON, "sw1", "Donor"), (6, "sw1", "Joined"), (NOON + 6.1 - NOON, "sw1", "Synced"), (8, "sw2", "Joined"), (NOON + 8.2 - NOON, "sw2", "Synced"),
        (9, "sw2", "Synced"),
    ]  # fmt: skip


def test_a_member_that_was_there_before() -> None:
    """It donates, and no one waits for it; another one says nothing, since it stayed as it was."""
    samples = [(NOON, "sw3", "starting"), (NOON + 4, "sw3", "Synced")]
    shifts = {
        "sw1": [(NOON - 60, "Synced"), (NOON + 1, "Donor"), (NOON + 2, "Synced")],
        "sw2": [],
        "sw3": [(NOON + 1, "Joiner"), (NOON + 3, "Synced")],
    }
    lanes = course(samples, shifts)
    assert [(at, state) for at, name, state in lanes if name == "sw1"] == [(0, "Synced"), (1, "Donor"), (2, "Synced")]
    assert [(at, state) for at, name, state in lanes if name == "sw3"] == [
        (0, "starting"),
        (1, "Joiner"),
        (3, "Synced"),
        (4, "Synced"),
    ]
    assert "sw2" not in {name for _, name, _ in lanes}, "nothing is known of it"


def test_without_logs_it_is_as_it_was_seen() -> None:
    samples = [(NOON, "sw1", "starting"), (NOON + 2, "sw1", "Synced")]
    assert course(samples, {}) == [(0, "sw1", "starting"), (2, "sw1", "Synced"), (2, "sw1", "Synced")]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pictures: list[str] = []
    monkeypatch.setattr(galera_states, "show_picture", lambda svg, words: pictures.append(svg))
    monkeypatch.setattr(galera_states, "_ask", lambda book, since: {"sw1": [(time.time() + 1, "Donor")]})
    return pictures


@pytest.mark.parametrize(
    ("error", "asks"), [(None, True), (WorldError("no"), True), (KeyboardInterrupt(), False)], ids=repr
)
def test_it_is_drawn_however_the_step_ends_and_nobody_is_asked_after_an_interrupt(
    home: Path, shown: list[str], error: BaseException | None, asks: bool
) -> None:
    book = Book("07", Params(), cluster=Cluster("lab"))
    with contextlib.suppress(WorldError, KeyboardInterrupt), states_shown(book):
        book.samples.append((time.time(), "sw1", "starting"))
        if error is not None:
            raise error
    assert len(shown) == 1 and "starting" in shown[0] and ("Donor" in shown[0]) == asks


def test_nothing_is_drawn_where_nobody_was_waited_for(home: Path, shown: list[str]) -> None:
    with states_shown(Book("07", Params(), cluster=Cluster("lab"))):
        pass
    assert shown == []


def test_who_founded_has_left_and_no_one_takes_its_place() -> None:
    """Or the settings of another member would change by it, and it would be restarted for nothing."""
    serves = Member(data=True, running=True, healthy=True, spec="s", wsrep=Wsrep("Synced", "Primary", True, 2, "u"))
    down = Member(data=True, spec="s")
    assert Galera({"sw2": serves, "sw3": serves}).founder == ""
    assert Galera({"sw2": down, "sw3": serves}).founder == ""
    assert Galera({"sw2": down, "sw3": down}).founder == "sw2"
    assert Galera({"sw2": down, "sw3": replace(serves, used=True)}).founder == "sw3"
    assert Galera({"sw2": Member(), "sw3": Member()}).founder == "sw2"
