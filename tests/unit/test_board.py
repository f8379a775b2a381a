"""The board: what it makes of answers, and that it goes on whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.diagnosis import board
from swarmbook.diagnosis.board import Board, cards, watch
from swarmbook.diagnosis.shared_look import Page, SharedLook
from swarmbook.diagnosis.status import Row, row_of, status_table
from swarmbook.model.health import Agent, Component, ContainerState, EngineState, GaleraState, Role, SwarmState
from swarmbook.params import Params

WELL = Row(
    "sw1",
    engine=EngineState.ACTIVE,
    swarm=SwarmState.ACTIVE,
    role=Role.MANAGER,
    consul=ContainerState.RUNNING,
    agent=Agent.SERVER,
    galera=GaleraState.SYNCED,
    component=Component.PRIMARY,
)
BARE = Row("sw1", engine=EngineState.INACTIVE)


def words(row: Row | None, was: set[tuple[str, str]] | None = None) -> list[str]:
    (card,) = cards(["sw1"], [row] if row else [], set() if was is None else was)
    return [str(part) for part in card.parts]


def test_from_nothing_to_well() -> None:
    assert words(None) == ["· not there", "·", "·", "·", "·"]
    assert words(BARE) == [
        "✔ answers",
        "· inactive",
        "·",
        "·",
        "· no member",
    ]
    assert words(
        replace(
            WELL,
            swarm=SwarmState.PENDING,
            role=None,
            consul=ContainerState.RESTARTING,
            galera=GaleraState.JOINING,
        )
    )[2:] == [
        "… pending",
        "… restarting",
        "… Joining, Primary",
    ]
    assert words(WELL) == ["✔ answers", "✔ active", "✔ manager", "✔ server", "✔ Synced"]
    assert words(replace(WELL, role=Role.WORKER, agent=Agent.CLIENT, galera=GaleraState.NOT_WANTED, component=None))[
        2:
    ] == [
        "✔ worker",
        "✔ client",
        "✔ none wanted",
    ]


def said(answer: str) -> Row:
    """A row from what a node printed, a fact a line here."""
    facts = "".join(f"{head}\n {rest}\n" for head, _, rest in (line.partition(" ") for line in answer.splitlines()))
    return row_of("sw1").answer(facts, "sw1")


def test_a_probe_s_lines_become_typed_and_words_only_in_the_table() -> None:
    row = said("engine active\nswarm active manager\nconsul running consul_server")
    assert replace(row, galera=GaleraState.SYNCED, component=Component.PRIMARY) == WELL
    assert said("engine inactive\nswarm \nconsul ") == BARE
    assert said("engine active\nswarm inactive worker\nconsul ").role is None
    assert said("engine dancing\nswarm ?").engine is EngineState.UNKNOWN
    assert said("").swarm is SwarmState.NONE
    silent = Row("sw2", "HostUnreachable: timed out")
    assert status_table([WELL, BARE, silent]).rows == [
        ["sw1", "ok", "active", "active manager", "running consul_server", "Synced, Primary"],
        ["sw1", "ok", "inactive", "none", "none", "no member"],
        ["sw2", "HostUnreachable: timed out", "", "", "", ""],
    ]
    assert WELL.fine and not BARE.fine and not silent.reachable and not silent.fine
    assert not replace(WELL, component=Component.NON_PRIMARY).fine


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("Synced", GaleraState.SYNCED),
        ("Donor/Desynced", GaleraState.DONOR),
        ("Joined", GaleraState.JOINED),
        ("Joiner", GaleraState.JOINING),
        ("Joining: receiving State Transfer", GaleraState.JOINING),
        ("Initialized", GaleraState.INITIALIZED),
        ("None", GaleraState.UNKNOWN),
    ],
)
def test_galera_s_words(text: str, state: GaleraState) -> None:
    assert GaleraState.read(text) is state


def test_what_was_well_and_is_not_is_broken() -> None:
    was: set[tuple[str, str]] = set()
    words(WELL, was)
    assert words(Row("sw1", "HostUnreachable: timed out"), was) == ["✘ no answer", "✘", "✘", "✘", "✘"]
    assert words(BARE, was) == [
        "✔ answers",
        "✘ inactive",
        "✘",
        "✘",
        "✘ no member",
    ]
    assert words(WELL, was)[4] == "✔ Synced"
    assert words(Row("sw1", "HostUnreachable: timed out"))[0] == "… no answer", "not met yet: it may be booting"


def test_it_looks_again_puts_up_with_errors_and_stops(home: Path, tmp_path: Path) -> None:
    shown: list[tuple[str, str]] = []
    answers: list[Sequence[Row] | Exception] = [[], RuntimeError("no"), [WELL], [WELL]]
    done = threading.Event()

    def ask() -> Sequence[Row]:
        if not answers:
            done.set()
            return [WELL]
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    it = Board(
        Params(nodes=["sw1"], swarm_managers=1),
        Cluster("lab"),
        lambda page, text: shown.append((page, text)),
        ask=ask,
        first_s=0.01,
        slowest_s=0.02,
        shared=SharedLook("lab", tmp_path),
    )
    it.start()
    assert done.wait(10)
    it.stop()
    it._thread.join(10)
    assert not it._thread.is_alive()
    assert "the board cannot refresh: no" in shown[1][1]
    assert "· not there" in shown[0][1] and "✔ Synced" in shown[-1][1] and "updated" in shown[-1][1]
    assert '<img alt="Cluster lab: sw1: machine ✔ answers' in shown[-1][0] and "<table>" in shown[-1][0]


def test_boards_of_one_cluster_look_once_for_all(tmp_path: Path) -> None:
    """Also those of other processes: they share nothing but a file."""
    asked: list[int] = []
    made = Page("<p>", "well", "well", [["sw1", "engine"]], time.time(), 60.0)

    def look(before: Page | None) -> Page:
        asked.append(1)
        assert before is None
        return made

    one, other, stranger = SharedLook("lab", tmp_path), SharedLook("lab", tmp_path), SharedLook("lab2", tmp_path)
    with one._turn() as ours:
        assert ours and other.take(look) is None, "one is looking just now"
    assert one.take(look) == made and other.take(look) == made and len(asked) == 1
    assert stranger.take(look) == made and len(asked) == 2
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}


def test_a_page_is_good_for_as_long_as_it_says(tmp_path: Path) -> None:
    shared = SharedLook("lab", tmp_path)
    old = Page("<p>", "old", "old", [], time.time() - 10, 5.0)
    assert shared.take(lambda before: old) == old
    seen: list[Page | None] = []
    new = replace(old, text="new", at=time.time() + 3600)
    assert shared.take(lambda before: (seen.append(before), new)[1]) == new
    assert seen == [old] and new.due_s() == 0.0, "a clock that was set back does not stop the boards"


def test_what_was_well_before_anyone_watched_counts_no_more(home: Path, tmp_path: Path) -> None:
    """The cluster may have been taken away and built again since."""
    it = Board(
        Params(nodes=["sw1"], swarm_managers=1),
        Cluster("lab"),
        lambda page, text: None,
        ask=lambda: [BARE],
        shared=SharedLook("lab", tmp_path),
    )
    before = Page("", "", "", [["sw1", "engine"]], time.time(), 1.0)
    assert "✘ inactive" in it._page(before).text
    assert "· inactive" in it._page(replace(before, at=time.time() - 3600)).text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"html": 1}', "null"])
def test_a_file_that_is_none_of_ours_counts_as_none(content: str, tmp_path: Path) -> None:
    shared = SharedLook("lab", tmp_path)
    shared._file.write_text(content)
    made = Page("<p>", "well", "well", [], time.time(), 60.0)
    assert shared.take(lambda before: made) == made
    shared._file.with_suffix(".lock").unlink()
    (tmp_path / "elsewhere").write_text("")
    shared._file.with_suffix(".lock").symlink_to(tmp_path / "elsewhere")
    shared._file.unlink()
    assert shared.take(lambda before: made) == made, "where there is no turn to take, each looks by itself"


def test_without_an_inventory_nothing_is_there(home: Path) -> None:
    it = Board(Params(), Cluster("lab"), lambda page, text: None)
    assert it._look() == []


def test_none_is_shown_outside_of_a_notebook_or_in_a_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch(Params(), Cluster("lab"))
    assert board._boards == []
    monkeypatch.setattr(board, "somebody_watches", lambda: True)
    monkeypatch.setenv("SWARMBOOK_BOARD", "off")
    watch(Params(), Cluster("lab"))
    assert board._boards == []
