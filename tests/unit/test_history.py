"""Who worked when: read from a run's ledger while the run still writes it, or from the notebook that is open."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import WorldError
from swarmbook.book import display as displays
from swarmbook.book.book import Book
from swarmbook.model import ledger as ledgers
from swarmbook.model.ledger import FILE, Ledger
from swarmbook.params import Params
from swarmbook.phases import history


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pictures: list[str] = []
    monkeypatch.setattr(displays, "display", lambda what, **how: pictures.append(what["text/html"]))
    return pictures


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home / "run"
    folder.mkdir()
    monkeypatch.setenv("SWARMBOOK_RUN_DIR", str(folder))
    moments = iter(datetime(2026, 11, 25, 2, 0, second, tzinfo=timezone.utc) for second in (0, 3, 4, 9))
    monkeypatch.setattr(ledgers, "datetime", SimpleNamespace(now=lambda zone: next(moments)))
    ledger = Ledger(folder)
    ledger.append("run", format=1)
    for host, seconds in (("sw2", 0.0), ("sw1", 0.25), ("sw2", 1.5)):
        ledger.append("command", host=host, text="true", exit=0, seconds=seconds)
    return folder


def test_of_a_run_it_is_the_whole_run(run: Path, shown: list[str]) -> None:
    result = history.course(Book("08", Params(), cluster=Cluster("lab")))
    assert result.table.rows == [["sw1", "1", "0.2"], ["sw2", "2", "1.5"]]
    assert "Who worked when in this run: sw1" in shown[0] and result.looked and not result.commands
    assert history.of_run(run) == [("sw2", 3.0, 3.0), ("sw1", 3.75, 4.0), ("sw2", 7.5, 9.0)]


def test_a_line_that_is_being_written_is_not_there_yet(run: Path) -> None:
    with (run / FILE).open("ab") as file:
        file.write(b'{"event":"command","ho')
    assert len(history.of_run(run)) == 3


def test_a_ledger_that_was_changed_is_not_drawn(run: Path, shown: list[str]) -> None:
    (run / FILE).write_bytes((run / FILE).read_bytes().replace(b"sw1", b"sw9"))
    with pytest.raises(WorldError, match="does not hold together"):
        history.course(Book("08", Params(), cluster=Cluster("lab")))
    assert not shown


def test_by_hand_it_is_this_notebook(home: Path, shown: list[str]) -> None:
    book = Book("08", Params(), cluster=Cluster("lab"))
    assert history.course(book).table.rows == [] and not shown, "nothing was done yet"
    book.transcript.record("sw3", "true", 0, 0.0)
    assert history.course(book).table.rows == [["sw3", "1", "0.0"]]
    assert "Who worked when in this notebook: sw3" in shown[0]
