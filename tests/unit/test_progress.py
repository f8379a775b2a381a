"""One line that changes while something is waited for, or while a step is at work."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import IPython
import IPython.display
import pytest

from swarmbook.base import secrets
from swarmbook.base.activity import doing
from swarmbook.base.wait import wait_for
from swarmbook.show import progress
from swarmbook.show.progress import AtWork, Progress, line


class Cell:
    """What a notebook's cell would show."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, data: dict[str, str], raw: bool) -> None:
        self.lines.append(data["text/plain"])


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    cell = Cell()

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Cell:
        cell.update(data, raw)
        return cell

    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", display)
    return cell


def test_shown_masked_and_taken_away(cell: Cell) -> None:
    secrets.register("swordfish-swordfish")
    with Progress() as progress:
        for text in ("one", "one", "two swordfish-swordfish"):
            progress.show(text)
    assert cell.lines == ["one", f"two {secrets.MASK}", ""]


def test_stays_when_it_ends_badly(cell: Cell) -> None:
    with pytest.raises(ZeroDivisionError), Progress() as progress:
        progress.show("here it stood")
        _ = 1 / 0
    assert cell.lines == ["here it stood"]


def test_nothing_outside_of_a_notebook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def display(*_: Any, **__: Any) -> None:
        raise AssertionError("shown")

    monkeypatch.setattr(IPython.display, "display", display)
    with Progress() as progress:
        progress.show("one")
    assert capsys.readouterr().out == ""


@pytest.fixture
def watched(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> Cell:
    monkeypatch.setattr(progress, "somebody_watches", lambda: True)
    return cell


def test_what_a_step_is_at_is_told_again_and_again_and_taken_away(watched: Cell) -> None:
    """One output from the begin on, whether the step is quick or slow: what is saved has to be the same every time."""
    secrets.register("swordfish-swordfish")
    with (
        AtWork(every_s=0.01),
        doing("sw2", "echo swordfish-swordfish\nsleep 5"),
        doing("sw1", "echo swordfish-swordfish\nsleep 5"),
    ):
        until(lambda: watched.lines[-1].endswith(f" s · sw1, sw2: echo {secrets.MASK} sleep 5"))
    assert watched.lines[0] == watched.lines[-1] == ""
    watched.lines.clear()
    with AtWork(every_s=60):
        pass
    assert watched.lines == [""]


def test_it_is_taken_away_when_the_step_ends_badly_too(watched: Cell) -> None:
    with pytest.raises(ZeroDivisionError), AtWork(every_s=0.01):
        until(lambda: watched.lines[-1].endswith(" s · at work"))
        _ = 1 / 0
    assert watched.lines[-1] == ""


def test_a_run_says_it_in_its_folder(cell: Cell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    with AtWork(every_s=60):
        assert cell.lines == [""], "someone may watch this kernel"
    cell.lines.clear()
    monkeypatch.setenv("SWARMBOOK_RUN_DIR", str(tmp_path))
    with AtWork(every_s=0.01), doing("sw1", "waits: sw1 runs 1-big.sql"):
        until(lambda: [file.read_text() for file in tmp_path.iterdir()] == ["sw1: waits: sw1 runs 1-big.sql"])
        assert cell.lines == [], "a run's kernel no one watches; the run's terminal reads it from the folder"
    assert list(tmp_path.iterdir()) == []


def test_a_wait_tells_what_it_saw_last(watched: Cell) -> None:
    answers = iter([(False, "b2: starting"), (False, 7), (True, "")])

    def sleep(_: float) -> None:
        reported.append(line(3.2))

    reported: list[str] = []
    wait_for("every member is Synced", lambda: next(answers), timeout_s=9, sleep=sleep)
    assert reported == ["3 s · waits: every member is Synced (now b2: starting)"] * 2
    assert line(0) == "0 s · at work", "what is over is not shown"


def test_what_is_long_is_cut(watched: Cell) -> None:
    with doing("sw1", "x" * 500):
        assert len(line(1)) < 160 and line(1).endswith("…")


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)
