"""One line that changes while something is waited for."""

from __future__ import annotations

from typing import Any

import IPython
import IPython.display
import pytest

from swarmbook import secrets
from swarmbook.progress import Progress


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
