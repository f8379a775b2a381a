"""The box in which a word is typed: for just what it shows, once, and only where someone may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import ConfirmationMissing
from swarmbook.book import book as books
from swarmbook.book.book import Book
from swarmbook.model.change import Action, Change, Word
from swarmbook.params import Params
from swarmbook.show.widgets import confirm_box, somebody_watches

from .steps import made_step


def test_the_word_and_only_the_word() -> None:
    said: list[int] = []
    box = confirm_box("DESTROY", ["sw1: <everything>"], lambda: said.append(1))
    assert box.button.disabled and "&lt;everything&gt;" in box.children[0].value
    for wrong in ("destroy", "DESTROY ", "CANCEL"):
        box.word.value = wrong
        assert box.button.disabled
        box.button.click()
    assert not said
    box.word.value = "DESTROY"
    assert not box.button.disabled
    box.button.click()
    box.button.click()
    assert said == [1] and box.word.disabled and "run the cell again" in box.status.value


@pytest.fixture
def shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Boxes, where someone watches."""
    found: list[Any] = []
    monkeypatch.setattr(books, "somebody_watches", lambda: True)
    monkeypatch.setattr(books, "display", lambda what, **how: found.append(what))
    return found


def step(book: Book, things: list[str], done: list[str]) -> Any:
    return made_step(
        "taking away",
        plan=lambda wanted, seen: [
            Change("sw1", Action.REMOVE, (thing,), Word.DESTROY) for thing in things if thing not in done
        ],
        apply=lambda book, wanted, seen, changes: done.extend(change.things[0] for change in changes),
    )(book)


def test_what_was_granted_is_done_once_and_nothing_else(shown: list[Any]) -> None:
    book, done = Book("90", Params(), cluster=Cluster("lab")), []
    with pytest.raises(ConfirmationMissing, match="1 thing would be removed"):
        step(book, ["data"], done)
    shown[-1].word.value = "DESTROY"
    shown[-1].button.click()
    with pytest.raises(ConfirmationMissing, match="2 things"):
        step(book, ["data", "more data"], done)
    assert not done, "another thing had come meanwhile"
    step(book, ["data"], done)
    assert done == ["data"]
    done.clear()
    with pytest.raises(ConfirmationMissing):
        step(book, ["data"], done)


def test_nobody_watches_here() -> None:
    assert not somebody_watches()
