"""The application against a bank in memory that fails in every way: what the oracle believes, and what it finds."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmbook.application import accounts
from swarmbook.application.accounts import (
    ACCOUNTS,
    EACH,
    MARK,
    TABLES,
    TOTAL,
    Bank,
    Transfer,
    prepare,
    read_bank,
    settled,
)
from swarmbook.application.application import Application
from swarmbook.application.figures import columns, figures, gaps, percentile, writers
from swarmbook.application.journal import Journal, Keeper, file_of, journals, read
from swarmbook.application.oracle import judge
from swarmbook.application.reader import Reader
from swarmbook.application.session import Client, Failed, Session
from swarmbook.application.tally import Commit, Read, Seen, Tally
from swarmbook.application.writer import Writer
from swarmbook.base.errors import ForeignData, WorldError

#: What may happen to a statement, and to a COMMIT: nothing; the connection is lost, before it was done or after; the server's word.
STATEMENT = st.sampled_from(["", "", "", "", "", "", "lost"])
COMMIT = st.sampled_from(["", "", "", "lost-before", "lost-after", "1213", "1290", "1180"])


class Memory:
    """A database in memory; what happens next it takes from a list, and after that nothing fails."""

    name = "memory"

    def __init__(self, happens: list[str] | None = None, commits: list[str] | None = None) -> None:
        self.balances: dict[int, int] = {}
        self.transfers: dict[tuple[int, int], Transfer] = {}
        self.tables: list[tuple[str, str]] = []
        self._happens, self._commits = iter(happens or []), iter(commits or [])

    def open(self) -> Session:
        return MemorySession(self)

    def happens(self) -> str:
        return next(self._happens, "")

    def commit(self) -> str:
        return next(self._commits, "")

    @property
    def bank(self) -> Bank:
        return Bank(dict(self.balances), tuple((w, n, transfer) for (w, n), transfer in self.transfers.items()))


def lost(number: int = 0) -> Failed:
    return Failed("no", number=number, where="memory", seen="lost", next="none")


class MemorySession(Session):
    def __init__(self, world: Memory) -> None:
        super().__init__(None, "memory")
        self.world, self.pending = world, []  # type: ignore[var-annotated]

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        world = self.world
        if "information_schema" in sql:
            return world.tables
        if sql.startswith("SELECT @@"):
            return [("galera-memory",)]
        if sql.startswith(("DROP", "CREATE", "SET", "START", "SELECT 1 FROM")) or sql == "SELECT 1":
            return [(1,)] if "FROM" in sql and values in world.transfers else []
        if world.happens():
            raise lost()
        if sql.startswith("SELECT id, balance"):
            return [(key, held) for key, held in world.balances.items() if not values or key in values]
        if sql.startswith("SELECT writer"):
            return [(w, n, t.source, t.target, t.amount) for (w, n), t in world.transfers.items()]
        if sql.startswith("SELECT (SELECT"):
            return [(int(values in world.transfers), sum(world.balances.values()))]
        if sql.startswith("INSERT") and (values[0], values[1]) in world.transfers:
            raise lost(1062)
        assert sql.startswith(("UPDATE", "INSERT")), sql
        self.pending.append((sql[:6], values))
        return []

    def write(self, sql: str, rows: Any) -> None:
        self.world.balances = dict(rows)

    def commit(self) -> None:
        what = self.world.commit() if self.pending else ""
        if what in ("", "lost-after"):
            for kind, values in self.pending:
                if kind == "UPDATE":
                    self.world.balances[values[1]] = values[0]
                else:
                    self.world.transfers[values[0], values[1]] = Transfer(*values[2:])
        self.pending = []
        if what:
            raise lost(int(what) if what.isdigit() else 0)

    def close(self) -> None:
        self.pending = []


def client(world: Memory, over: threading.Event | None = None) -> Client:
    return Client([world], 0, over or threading.Event(), lambda member: None)


@pytest.fixture
def worked(tmp_path: Path) -> tuple[list[Journal], Bank]:
    """Two writers' journals, and the bank as they left it."""
    return work(tmp_path, Memory(), 20)


_folders = itertools.count()


def work(folder: Path, world: Memory, many: int) -> tuple[list[Journal], Bank]:
    folder = folder / str(next(_folders))
    folder.mkdir()
    accounts.prepare(world.open())
    for number in (1, 2):
        keeper = Keeper(file_of(folder, number), number)
        writer = Writer(number, client(world), keeper, Tally(), 0.0)
        for each in range(1, many + 1):
            writer.transfer(each)
        keeper.close()
    return journals(folder), read_bank(Memory.open(still(world)))


def still(world: Memory) -> Memory:
    """The same, in which nothing fails any more."""
    found = Memory()
    found.balances, found.transfers = world.balances, world.transfers
    return found


@settings(max_examples=150, deadline=None)
@given(happens=st.lists(STATEMENT, max_size=80), commits=st.lists(COMMIT, max_size=40))
def test_whatever_fails_nothing_acknowledged_is_lost(
    happens: list[str], commits: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept, bank = work(tmp_path_factory.mktemp("w"), Memory(happens, commits), 10)
    verdict = judge(kept, bank)
    assert verdict.holds, verdict
    assert verdict.total == TOTAL
    known = sum(len(journal.acknowledged | journal.undone | journal.unknown) for journal in kept)
    assert known == 20, "each transfer has an outcome"
    assert len(bank.transfers) == verdict.acknowledged + verdict.unknown_there


def test_one_retry_carries_what_failed_once(tmp_path: Path) -> None:
    for what in ("lost-before", "lost-after", "1213", "1290", "1180"):
        kept, bank = work(tmp_path, Memory(commits=[what]), 3)
        assert all(journal.acknowledged == {1, 2, 3} and not journal.unknown for journal in kept), what
        assert judge(kept, bank).holds


def test_what_no_one_knows_is_called_so(tmp_path: Path) -> None:
    kept, bank = work(tmp_path, Memory(commits=["1180", "1213"]), 3)
    assert kept[0].unknown == {1}, "the first try may have been done"
    verdict = judge(kept, bank)
    assert verdict.holds and (verdict.unknown_there, verdict.unknown_not) == (0, 1)
    kept, _ = work(tmp_path, Memory(commits=["1213", "1290"]), 3)
    assert kept[0].undone == {1} and not kept[0].unknown


# -- the oracle can fail -----------------------------------------------------------------------------------------------


def without(bank: Bank, at: int, *, books: bool) -> Bank:
    """The bank without one of its transfers; with its balances as if it had never been, or as they are."""
    _, _, gone = bank.transfers[at]
    held = dict(bank.balances)
    if books:
        held[gone.source] += gone.amount
        held[gone.target] -= gone.amount
    return Bank(held, bank.transfers[:at] + bank.transfers[at + 1 :])


@settings(deadline=None)
@given(at=st.integers(0, 39), books=st.booleans())
def test_a_planted_loss_is_found(at: int, books: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept, bank = work(tmp_path_factory.mktemp("w"), Memory(), 20)
    writer, number, transfer = bank.transfers[at]
    verdict = judge(kept, without(bank, at, books=books))
    assert not verdict.holds and verdict.lost == ((writer, number),)
    assert bool(verdict.balances) == (not books and transfer.amount > 0)


@settings(deadline=None)
@given(at=st.integers(0, 39))
def test_a_planted_duplicate_is_found(at: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept, bank = work(tmp_path_factory.mktemp("w"), Memory(), 20)
    verdict = judge(kept, replace(bank, transfers=(*bank.transfers, bank.transfers[at])))
    assert not verdict.holds and verdict.twice == (bank.transfers[at][:2],)


@given(account=st.integers(0, ACCOUNTS - 1), more=st.integers(-500, 500).filter(bool))
def test_a_changed_total_is_found(account: int, more: int) -> None:
    held = dict.fromkeys(range(ACCOUNTS), EACH)
    assert judge([], Bank(held, ())).holds
    verdict = judge([], Bank({**held, account: EACH + more}, ()))
    assert not verdict.holds and verdict.total == TOTAL + more and verdict.balances == (account,)


def test_a_lost_update_is_found_though_the_total_holds(worked: tuple[list[Journal], Bank]) -> None:
    kept, bank = worked
    verdict = judge(kept, Bank({**bank.balances, 0: bank.balances[0] + 5, 1: bank.balances[1] - 5}, bank.transfers))
    assert not verdict.holds and verdict.total == TOTAL and verdict.balances == (0, 1)


def test_an_account_that_is_gone_is_found(worked: tuple[list[Journal], Bank]) -> None:
    kept, bank = worked
    left = {key: held for key, held in bank.balances.items() if key}
    assert not judge(kept, Bank(left, bank.transfers)).holds


def test_what_no_one_sent_is_found(worked: tuple[list[Journal], Bank]) -> None:
    kept, bank = worked
    writer, number, sent = bank.transfers[3]
    for strange in ((1, 999, sent), (9, 1, sent), (writer, number, replace(sent, amount=sent.amount + 1))):
        rest = [row for row in bank.transfers if row[:2] != strange[:2]]
        assert judge(kept, replace(bank, transfers=(*rest, strange))).strange == (strange[:2],)
    undone = [replace(kept[0], acknowledged=frozenset(), undone=kept[0].acknowledged), kept[1]]
    assert len(judge(undone, bank).strange) == 20, "what is known not to have been done must not be there"


# -- the journal -------------------------------------------------------------------------------------------------------


def lines(folder: Path, world: Memory | None = None) -> bytes:
    keeper = Keeper(folder / "writer-1.jsonl", 1)
    writer = Writer(1, client(world or Memory()), keeper, Tally(), 0.0)
    (world or Memory()).balances = dict.fromkeys(range(ACCOUNTS), EACH)
    for number in range(1, 6):
        writer.transfer(number)
    keeper.close()
    return (folder / "writer-1.jsonl").read_bytes()


def test_a_journal_is_read_back(tmp_path: Path) -> None:
    world = Memory()
    world.balances = dict.fromkeys(range(ACCOUNTS), EACH)
    found = read(lines(tmp_path, world), "x")
    assert found.writer == 1 and found.acknowledged == {1, 2, 3, 4, 5} and found.ended and not found.unknown
    with pytest.raises(FileExistsError):
        Keeper(tmp_path / "writer-1.jsonl", 1)


def test_a_journal_that_ends_too_soon_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    world = Memory()
    world.balances = dict.fromkeys(range(ACCOUNTS), EACH)
    data = lines(tmp_path, world)
    for length in range(len(data)):
        found = read(data[:length], "x")
        assert not found.ended or length == len(data)
        assert found.acknowledged <= {1, 2, 3, 4, 5}
        assert judge([found], world.bank).lost == (), "what was sent and not noted as acknowledged is unknown"


def test_a_journal_that_was_changed_is_refused(tmp_path: Path) -> None:
    world = Memory()
    world.balances = dict.fromkeys(range(ACCOUNTS), EACH)
    whole = lines(tmp_path, world).splitlines(keepends=True)
    for at in range(len(whole) - 1):
        for changed in (
            [*whole[:at], *whole[at + 1 :]],
            [*whole[:at], whole[at], *whole[at:]],
            [*whole[:at], whole[at].replace(b'"number":', b'"number":1'), *whole[at + 1 :]],
        ):
            with pytest.raises(WorldError, match="does not hold together"):
                read(b"".join(changed), "x")
    with pytest.raises(WorldError):
        read(b"".join(whole) + whole[-1], "x")


# -- accounts, readers, figures ----------------------------------------------------------------------------------------


@given(st.dictionaries(st.integers(0, 1), st.integers(0, 2000), min_size=2), st.integers(1, 10))
def test_no_account_falls_below_zero(held: dict[int, int], wish: int) -> None:
    transfer = settled(0, 1, wish, held)
    assert {transfer.source, transfer.target} == {0, 1} and 0 <= transfer.amount <= min(wish, held[transfer.source])


def test_a_reader_counts_what_it_should_have_seen() -> None:
    world, tally = Memory(), Tally()
    accounts.prepare(world.open())
    world.transfers[1, 7] = Transfer(0, 1, 5)
    reader = Reader(client(world), tally, 0.0)
    reader.read(1, 7)
    reader.read(1, 8)
    world.balances[0] -= 1
    reader.read(1, 7)
    seen = tally.seen()
    assert [(each.stale, each.total - TOTAL) for each in seen.reads] == [(False, 0), (True, 0), (False, -1)]
    found = figures(seen)
    assert (found.reads, found.stale, found.wrong) == (3, 1, 1)


def test_the_application_starts_and_stops(tmp_path: Path) -> None:
    world = Memory()
    guarded = threading.Lock()

    class OneByOne(MemorySession):
        """Locks what it reads until its transaction ends, as a database does."""

        def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
            if "FOR UPDATE" in sql:
                guarded.acquire()
                self.holds = True
            return super().ask(sql, *values)

        def commit(self) -> None:
            super().commit()
            if getattr(self, "holds", False):
                self.holds = False
                guarded.release()

    world.open = lambda: OneByOne(world)  # type: ignore[method-assign]
    application = Application([world], [world], tmp_path, 3)
    application.prepare()
    heard: list[Seen] = []
    with application:
        application.go_on(0.3, heard.append, 0.1)
    seen = application.seen()
    assert heard and len(seen.commits) >= len(heard[-1].commits) > 0 and seen.reads
    kept = journals(tmp_path)
    assert len(kept) == 3 and all(journal.ended for journal in kept)
    assert judge(kept, world.bank).holds
    assert sum(len(journal.acknowledged) for journal in kept) == len(seen.commits)


def test_a_fault_of_our_own_ends_it_and_is_raised(tmp_path: Path) -> None:
    class Broken(Memory):
        def open(self) -> Session:
            raise ZeroDivisionError("ours")

    application = Application([Broken()], [Broken()], tmp_path, 2)
    with pytest.raises(ZeroDivisionError), application:
        application.go_on(30, lambda seen: None)


COMMITS = st.lists(
    st.builds(Commit, st.floats(0, 100), st.floats(0, 20), st.booleans()).map(lambda each: each), max_size=50
).map(lambda several: tuple(sorted(several, key=lambda commit: commit.at)))


@given(COMMITS)
def test_figures_of_anything(commits: tuple[Commit, ...]) -> None:
    found = figures(Seen(100.0, commits))
    assert found.acknowledged == len(commits)
    assert found.median_s <= found.p95_s <= found.p99_s <= found.slowest_s
    assert 100.0 / (len(commits) + 1) <= found.gap_s + 1e-9
    assert sum(other - one for one, other in gaps(commits, 100.0, 0.0)) == pytest.approx(100.0)
    wide, cols = columns(commits, 0.0, 100.0 + 1e-6)
    assert sum(each.per_second * min(wide, 100.0 + 1e-6 - each.begin) for each in cols) == pytest.approx(len(commits))
    assert len(cols) <= 161


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(1, 100))
def test_a_percentile_is_one_of_them(values: list[float], part: float) -> None:
    found = percentile(values, part)
    assert found in values and sum(each <= found for each in values) >= len(values) * part / 100 - 1e-6


def test_who_was_the_writer() -> None:
    assert writers([(5.0, "b"), (1.0, "a"), (1.1, "a"), (5.2, "b"), (9.0, "a")]) == ((1.0, "a"), (5.0, "b"), (9.0, "a"))
    assert Read(1.0, False, TOTAL).total == TOTAL


def test_a_client_goes_on_to_the_next_door_and_gives_up() -> None:
    class Shut(Memory):
        def open(self) -> Session:
            raise lost()

    met: list[str] = []
    going = Client([Shut(), Memory()], 0, threading.Event(), met.append)
    going.session()
    assert met == ["galera-memory"]
    over = threading.Event()
    over.set()
    with pytest.raises(Failed):
        Client([Shut()], 0, over, met.append).session()


def test_a_table_of_someone_elses_is_not_removed() -> None:
    world = Memory()
    world.tables = [(TABLES[0], MARK), (TABLES[1], "our orders")]
    dropped: list[str] = []

    class Watched(MemorySession):
        def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
            dropped.extend([sql] if sql.startswith("DROP") else [])
            return super().ask(sql, *values)

    with pytest.raises(ForeignData, match=TABLES[1]):
        prepare(Watched(world))
    assert not dropped
    world.tables = [(TABLES[0], MARK), (TABLES[1], MARK)]
    prepare(Watched(world))
    assert len(dropped) == 2
