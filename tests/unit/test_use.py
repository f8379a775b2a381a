"""Phase 09 and the command `use`: when it runs, what it says, where it keeps what was acknowledged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest
from click.testing import CliRunner

from swarmbook.application.accounts import TOTAL
from swarmbook.application.oracle import Verdict
from swarmbook.application.session import Failed, Session
from swarmbook.application.tally import Commit, Read, Seen
from swarmbook.base.codes import Code
from swarmbook.book.book import Book
from swarmbook.cli import main
from swarmbook.cli.running import BUILD, _numbers
from swarmbook.cli.using import words
from swarmbook.model.phases import PHASES, Kind
from swarmbook.params import Params
from swarmbook.phases.use.doors import Direct, ThroughSsh, login_of, of_role
from swarmbook.phases.use.folder import claimed, keep_figures, last, made
from swarmbook.phases.use.step import _rows, _who, figures_table, picture
from swarmbook.testing.errors import raises

SEEN = Seen(
    10.0,
    tuple(Commit(at / 10, 0.02, at == 50) for at in [*range(20), *range(50, 100)]),
    (Read(1.0, True, TOTAL), Read(2.0, False, TOTAL)),
    ((0.0, "galera-sw1"), (5.0, "galera-sw2")),
    failed=4,
)
FINE = Verdict(70, (), (), (), (), TOTAL, 1, 2)


def test_it_runs_when_it_is_asked_for_alone() -> None:
    assert PHASES["09"].kind is Kind.CARE
    assert "09" not in BUILD and "09" not in _numbers(Params(with_endpoint=True), None, None, None)
    assert _numbers(Params(), None, None, "09") == ["09"]
    assert "swarmbook use params/lab.yaml" in CliRunner().invoke(main, ["use", "--help"]).output


def test_it_says_what_comes_first(home: Path) -> None:
    (home / "p.yaml").write_text("cluster: nowhere-at-all\n")
    done = CliRunner().invoke(main, ["use", str(home / "p.yaml")])
    assert done.exit_code == 2 and "there is nothing to use" in done.output and "next:   swarmbook run" in done.output


def test_a_line_says_how_it_is() -> None:
    assert words(Seen(0.0)) == "0 s · 0 commits · 0 per second · writer none"
    assert words(SEEN) == "10 s · 70 commits · 10 per second · 95 of 100 within 20 ms · writer galera-sw2"
    assert words(Seen(12.0, SEEN.commits, (), SEEN.met)).endswith("writer galera-sw2 · no commit for 2.1 s")


def test_the_figures_and_the_picture_say_the_same() -> None:
    from swarmbook.application.figures import figures

    found = figures(SEEN)
    assert found.gap_s == pytest.approx(3.1) and found.gap_at == pytest.approx(1.9)
    text = figures_table(found).to_text()
    assert "70, 7.0 per second" in text and "3.10 s, from 1.9 s on" in text
    assert "galera-sw1 (from 0.0 s on), then galera-sw2 (from 5.0 s on)" in text
    assert "no commit for 3.1 s" in picture(SEEN) and "galera-sw2 is the writer" in picture(SEEN)
    late = picture(SEEN, 4.0)
    assert "no commit" not in late and "galera-sw2 is the writer" in late, "the writer of then, though it came before"
    json.dumps(found.to_json())


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (Verdict(70, ((1, 7),), (), (), (), TOTAL, 0, 0), "1 not there: 7 of writer 1"),
        (Verdict(70, (), ((2, 3),), (), (), TOTAL, 0, 0), "1 there twice: 3 of writer 2"),
        (Verdict(70, (), (), ((9, 1),), (), TOTAL, 0, 0), "1 there, and never sent so: 1 of writer 9"),
        (Verdict(70, tuple((1, n) for n in range(9)), (), (), (), TOTAL, 0, 0), "4 of writer 1, ..."),
        (Verdict(70, (), (), (), (3, 4), TOTAL, 0, 0), "all but 3, 4"),
        (Verdict(70, (), (), (), (3,), TOTAL - 5, 0, 0), str(TOTAL - 5)),
        ("Connection refused", "no answer: Connection refused"),
    ],
)
def test_what_does_not_hold_is_a_row_that_fails(verdict: Verdict | str, said: str) -> None:
    rows = _rows("galera-sw1", 70, verdict)
    assert [row for row in rows if not row.ok and said in row.seen], rows
    assert all(row.ok for row in _rows("galera-sw1", 70, FINE))
    assert "3: 1 there, 2 not" in {row.seen for row in _rows("galera-sw1", 70, FINE)}


def test_one_application_at_a_time(home: Path) -> None:
    with claimed("lab"), raises(Code.LOCK_HELD, "swarmbook use PARAMS"), claimed("lab"):
        pass
    with claimed("lab"):
        pass


def test_the_one_that_ran_last_is_found(home: Path) -> None:
    with raises(Code.OUT_OF_ORDER, "swarmbook use PARAMS"):
        last("lab")
    first, second = made("lab"), made("lab")
    with raises(Code.OUT_OF_ORDER):
        last("lab")
    keep_figures(second, {})
    assert last("lab") == second, "the other one did not come to its end"
    keep_figures(first, {})
    assert last("lab").parent == first.parent


def test_it_goes_by_the_published_port_or_through_ssh(open_book: Callable[..., Book]) -> None:
    by_ssh = of_role(open_book("09"), "writer")
    assert [type(door) for door in by_ssh] == [ThroughSsh] * 4 and by_ssh[0].name == "sw1"
    direct = of_role(open_book("09", endpoint_writer_port=3307), "writer")
    assert [type(door) for door in direct] == [Direct] * 4
    assert type(of_role(open_book("09", endpoint_writer_port=3307), "reader")[0]) is ThroughSsh


def test_without_a_user_it_says_so(open_book: Callable[..., Book]) -> None:
    with raises(Code.USAGE, "mariadb_user"):
        login_of(open_book("09", mariadb_user="", mariadb_database=""))


class _Connection:
    def __init__(self, lost: bool) -> None:
        self._lost = lost

    def cursor(self) -> _Connection:
        return self

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def execute(self, sql: str, values: object = None) -> None:
        self._sql = sql
        if self._lost:
            raise pymysql.OperationalError(2013, "Lost connection to MySQL server during query")

    def fetchall(self) -> list[tuple[str, str]]:
        return [("galera-sw1", "TLSv1.3")]

    def close(self) -> None:
        return None


class _Shut:
    """A door that is closed at first, then loses a session, and then lets one in."""

    name = "sw1 through SSH"

    def __init__(self) -> None:
        self.opened = 0

    def open(self) -> Session:
        self.opened += 1
        if self.opened == 1:
            raise Failed("it does not let the application in", where=self.name, seen="Lost connection")
        return Session(_Connection(lost=self.opened == 2), self.name)


def test_a_session_that_is_lost_at_the_endpoint_is_opened_again() -> None:
    """HAProxy cuts a session whose member was late with its word: on a busy computer, just while the book logs in."""
    door = _Shut()
    assert _who(door) == ("galera-sw1", "TLSv1.3") and door.opened == 3
