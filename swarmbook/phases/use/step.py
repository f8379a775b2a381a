"""Phase 09: a small application uses the endpoint; what was acknowledged is kept outside the cluster, and held against it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from swarmbook.application import accounts
from swarmbook.application.accounts import TOTAL
from swarmbook.application.application import Application
from swarmbook.application.figures import Figures, columns, figures, gaps, writers
from swarmbook.application.journal import Journal, journals
from swarmbook.application.oracle import Verdict, judge
from swarmbook.application.session import Client, Door, Session
from swarmbook.application.tally import Seen
from swarmbook.base.errors import SwarmbookError
from swarmbook.base.wait import wait_for
from swarmbook.base.words import many
from swarmbook.book.book import Book
from swarmbook.book.display import LivePicture, show_picture
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable, Table, equal
from swarmbook.phases.endpoint.ways import writer_now
from swarmbook.phases.support.members import ROLES, endpoint_name, member_name
from swarmbook.phases.use.doors import of_members, of_role
from swarmbook.phases.use.folder import claimed, figures_of, keep_figures, last, made
from swarmbook.show.load import load, milliseconds
from swarmbook.show.widgets import somebody_watches

__all__ = ["Ran", "clean", "figures_table", "held", "picture", "prove", "reach", "run_it", "work"]

#: Seconds that a member which was lost meanwhile is waited for before it is asked.
_BACK_S = 90.0
#: What a live picture shows, seconds: what went before moves out of it.
_LIVE_S = 60.0

T = TypeVar("T")


@dataclass(frozen=True)
class Ran:
    """An application that has come to its end.

    Args:
        folder: Where its journals lie.
        seen: What it did.
        figures: What was measured.
    """

    folder: Path
    seen: Seen
    figures: Figures


@look()
def reach(book: Book) -> CheckTable:
    """Log in at the endpoint as the application does, by every node and by both names.

    Raises:
        OutOfOrder: There is no endpoint.
    """
    writer = writer_now(book) or "none"
    rows = []
    for role in ROLES:
        name = endpoint_name(book.params, role)
        for door in of_role(book, role):
            member, tls = _who(door)
            wanted, found = (writer, member) if role == "writer" else ("a member", "a member" if member else "none")
            rows.append(equal(door.name, f"{name}, from this computer, leads to", wanted, found))
            rows.append(equal(door.name, f"{name}: TLS, the name verified", "TLSv1.3", tls))
    return CheckTable(rows)


def _who(door: Door) -> tuple[str, str]:
    def ask(session: Session) -> tuple[str, str]:
        member = str(session.ask("SELECT @@wsrep_node_name")[0][0])
        return member, str(session.ask("SHOW SESSION STATUS LIKE 'Ssl_version'")[0][1])

    return _patiently(door, ask)


def _patiently(door: Door, ask: Callable[[Session], T]) -> T:
    """Ask behind a door; where the session is lost, or the door is closed just now, try again, as every application has to.

    Raises:
        WaitTimeout: No try came to its end; carries what the last one met.
    """

    def attempt() -> tuple[bool, T | str]:
        try:
            session = door.open()
            try:
                return True, ask(session)
            finally:
                session.close()
        except SwarmbookError as error:
            return False, error.seen or error.what

    found = wait_for(
        f"{door.name} answers",
        attempt,
        timeout_s=_BACK_S,
        where=door.name,
        next="swarmbook status PARAMS",
        first_s=0.2,
    )
    return cast("T", found)


def run_it(book: Book, seconds: float, heard: Callable[[Seen], None], *, stoppable: bool) -> Ran:
    """Run the application: make its tables, let it work, keep its figures.

    Args:
        book: The open book.
        seconds: For how long.
        heard: Hears how far it is, about once a second.
        stoppable: Whether an interrupt ends it well, before its time.

    Raises:
        OutOfOrder: There is no endpoint.
        LockHeld: Another one is at work.
    """
    writer_now(book)
    folder = made(book.cluster.name)
    application = Application(of_role(book, "writer"), of_role(book, "reader"), folder, book.params.use_connections)
    try:
        application.prepare()
        with application:
            try:
                application.go_on(seconds, heard)
            except KeyboardInterrupt:
                if not stoppable:
                    raise
    except BaseException:
        with contextlib.suppress(SwarmbookError):  # what stays there, the next one removes
            clean(book)
        raise
    seen = application.seen()
    found = figures(seen)
    keep_figures(folder, found.to_json())
    return Ran(folder, seen, found)


def picture(seen: Seen, last_s: float = 0.0, title: str = "Commits per second, and how long they took") -> str:
    """Draw what an application did.

    Args:
        seen: What it did.
        last_s: Only so many seconds of it, the last ones; 0: all.
        title: Of the picture.
    """
    begin = max(0.0, seen.seconds - last_s) if last_s else 0.0
    wide, found = columns(seen.commits, begin, seen.seconds)
    drawn = [(each.begin, each.per_second, each.median_s, each.slowest_s) for each in found]
    met = list(writers(seen.met))
    shown = [
        (max(at, begin), member) for number, (at, member) in enumerate(met) if at >= begin or number == len(met) - 1
    ]
    return load(drawn, wide, gaps(seen.commits, seen.seconds), shown, title)


def figures_table(found: Figures) -> Table:
    """Put the figures into a table."""
    return Table(
        ["figure", "value"],
        [
            ["time", f"{found.seconds:.1f} s"],
            ["commits acknowledged", f"{found.acknowledged}, {found.per_second:.1f} per second"],
            ["... at the second try", found.again],
            ["not done, both tries failed", found.undone],
            ["outcome unknown", found.unknown],
            ["latency: half took no longer than", milliseconds(found.median_s)],
            ["latency: 95 of 100 took no longer than", milliseconds(found.p95_s)],
            ["latency: 99 of 100 took no longer than", milliseconds(found.p99_s)],
            ["latency: the slowest", milliseconds(found.slowest_s)],
            ["longest time without a commit", f"{found.gap_s:.2f} s, from {found.gap_at:.1f} s on"],
            ["writers", ", then ".join(f"{member} (from {at:.1f} s on)" for at, member in found.writers) or "none"],
            ["reads", found.reads],
            ["stale reads", found.stale],
        ],
    )


@look(sentence="The application worked; its tables stay until the next step.")
def work(book: Book) -> Table:
    """Let the application work for ``use_seconds``, and draw it: while it works where a person watches, and once in the end.

    Raises:
        OutOfOrder: There is no endpoint.
        LockHeld: Another one is at work.
    """
    watched, live = somebody_watches(), LivePicture()
    with claimed(book.cluster.name):
        ran = run_it(
            book,
            book.params.use_seconds,
            lambda seen: live.show(picture(seen, _LIVE_S), "the application at work") if watched else None,
            stoppable=watched,
        )
    svg = picture(ran.seen)
    live.show(svg, "the application's load") if watched else show_picture(
        svg, "the application's load: the table below"
    )
    book.keep_files({"use.svg": svg + "\n", "use.json": (ran.folder / "figures.json").read_text(encoding="utf-8")})
    return figures_table(ran.figures)


@look(sentence="Held the journals against every member.", hosts=lambda book: len(book.params.members()))
def prove(book: Book) -> CheckTable:
    """Hold the journals of the application that ran last against every member; then remove its tables.

    Where something does not hold, the tables stay, to be looked at.

    Raises:
        OutOfOrder: None has run.
    """
    with claimed(book.cluster.name):
        found = held(book, last(book.cluster.name))
        stay = bool(found.failed) or book.params.use_keep
        if not stay:
            clean(book)
    tables = "left in the database" if stay else "removed"
    return CheckTable([*found.checks, Check("application", "its tables", "left or removed", tables, True)])


def held(book: Book, folder: Path) -> CheckTable:
    """Hold the journals in a folder against every member.

    Args:
        book: The open book.
        folder: Of an application that has come to its end.

    Raises:
        WorldError: A journal does not hold together.
    """
    kept, measured = journals(folder), figures_of(folder)
    acknowledged = sum(len(journal.acknowledged) for journal in kept)
    doors = of_members(book)
    verdicts = book.fleet.each(lambda host: _of_member(doors[host.name], kept), doors)
    rows = [
        Check("application", "commits acknowledged", "some", str(acknowledged), acknowledged > 0),
        equal(
            "application", "accounts together, in each read", f"{TOTAL}", _totals(measured["reads"], measured["wrong"])
        ),
    ]
    for node, verdict in verdicts.items():
        rows += _rows(member_name(book.params, node), acknowledged, verdict)
    return CheckTable(rows)


def _totals(reads: int, wrong: int) -> str:
    return f"another in {wrong} of {many(reads, 'read')}" if wrong else f"{TOTAL}"


def _of_member(door: Door, kept: Sequence[Journal]) -> Verdict | str:
    """Ask a member, as soon as it is back; and say why it does not answer."""
    try:
        return _patiently(door, lambda session: judge(kept, accounts.read_bank(session)))
    except SwarmbookError as error:
        return error.seen or error.what


def _rows(member: str, acknowledged: int, found: Verdict | str) -> list[Check]:
    all_there = f"{acknowledged}, each once"
    if isinstance(found, str):
        return [equal(member, "commits acknowledged, and there", all_there, f"no answer: {found}")]
    unknown = found.unknown_there + found.unknown_not
    seen = [
        *_keys("not there", found.lost),
        *_keys("there twice", found.twice),
        *_keys("there, and never sent so", found.strange),
    ]
    return [
        equal(member, "commits acknowledged, and there", all_there, "; ".join(seen) or f"{found.acknowledged}, each once"),
        Check(
            member, "commits of unknown outcome", "there or not", f"{unknown}: {found.unknown_there} there, {found.unknown_not} not", True
        ),
        equal(member, "accounts together", TOTAL, found.total),
        equal(
            member, "accounts that hold what the transfers make of them", "all",
            "all but " + ", ".join(map(str, found.balances[:10])) if found.balances else "all",
        ),
    ]  # fmt: skip


def _keys(what: str, keys: Sequence[tuple[int, int]]) -> list[str]:
    more = ", ..." if len(keys) > 5 else ""
    named = ", ".join(f"{number} of writer {writer}" for writer, number in keys[:5])
    return [f"{len(keys)} {what}: {named}{more}"] if keys else []


def clean(book: Book) -> None:
    """Remove the application's tables.

    Raises:
        SwarmbookError: The endpoint does not let us in.
    """
    client = Client(of_role(book, "writer"), 0, threading.Event(), lambda member: None)
    try:
        accounts.drop(client.session())
    finally:
        client.close()
