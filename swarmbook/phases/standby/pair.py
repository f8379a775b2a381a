"""Both clusters as they are: the standby, and the one that it follows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from swarmbook.access.hosts import Host
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, SwarmbookError, UsageError
from swarmbook.book.book import Book
from swarmbook.machines.images.galera.follower import highest
from swarmbook.model.gtids import number_in
from swarmbook.params import Params
from swarmbook.phases.endpoint.agents import Says, agents_of, writer_among
from swarmbook.phases.endpoint.election import statement
from swarmbook.phases.galera.logins import Login, logins_of
from swarmbook.phases.standby.member import Member, Row, member_on
from swarmbook.phases.support.members import service_name
from swarmbook.phases.support.source import Source, gtid_number, login_at, source_of

__all__ = ["Pair", "Side", "away", "look_at", "put_row", "side_of"]

_TABLE = (
    "CREATE DATABASE IF NOT EXISTS swarmbook; CREATE TABLE IF NOT EXISTS swarmbook.following (id TINYINT NOT NULL PRIMARY KEY, "
    "source VARCHAR(200) NOT NULL, hosts VARCHAR(1000) NOT NULL, login VARCHAR(80) NOT NULL, start VARCHAR(1000) NOT NULL, "
    "wanted TINYINT NOT NULL, since DATETIME(3) NOT NULL) ENGINE=InnoDB; "
)
_PUT = "REPLACE INTO swarmbook.following VALUES (1, '{source}', '{hosts}', '{login}', '{start}', {wanted}, UTC_TIMESTAMP(3))"

T = TypeVar("T")


@dataclass(frozen=True)
class Side:
    """One of the two clusters.

    Args:
        says: What its members' agents say, by node; of those that answer.
        members: Those that serve, by node.
        domain: Of its own transactions' GTIDs.
    """

    says: Mapping[str, Says]
    members: Mapping[str, Member]
    domain: int

    @property
    def row(self) -> Row | None:
        """Which cluster it follows."""
        return next((member.row for member in self.members.values() if member.row is not None), None)

    @property
    def written(self) -> str:
        """The last transactions in its binary logs, of each domain."""
        return highest(*(member.written for member in self.members.values()))

    @property
    def has(self) -> str:
        """The last transactions that are in it, of each domain: its own, and those that came from elsewhere."""
        return highest(*(gtids for member in self.members.values() for gtids in (member.written, member.applied)))

    @property
    def own(self) -> int:
        """The number of its own last transaction."""
        return number_in(self.written, self.domain)

    @property
    def open(self) -> list[str]:
        """Nodes whose members take writes."""
        return [node for node, one in self.says.items() if not one.read_only]

    def holder(self, params: Params) -> str:
        """Return the node of the member that holds the writer's place; nothing where none does."""
        return writer_among(params, self.says) if self.says else ""


@dataclass(frozen=True)
class Pair:
    """Both.

    Args:
        source: The cluster that is followed, as this folder knows it.
        here: The standby.
        there: The one that is followed; None where none of its members serves.
        login: Of the standby there; None where there is none, or no one can be asked.
        why: What keeps the source from being asked.
    """

    source: Source = field(compare=False)
    here: Side
    there: Side | None = None
    login: Login | None = None
    why: str = ""

    @property
    def row(self) -> Row | None:
        """Which cluster the standby follows; a row of the source's own, that came with its backup, says nothing of that."""
        row = self.here.row
        return row if row is not None and row.source == self.source.owner else None

    @property
    def arrived(self) -> int:
        """The number of the source's last transaction that is here."""
        return number_in(self.here.has, self.source.domain)


def _tolerant(book: Book, ask: Callable[[Host], T]) -> dict[str, T | SwarmbookError]:
    def one(host: Host) -> T | SwarmbookError:
        try:
            return ask(host)
        except SwarmbookError as error:
            return error

    return dict(book.fleet.each(one, book.params.members()))


def side_of(book: Book, domain: int) -> tuple[Side, str]:
    """Ask all members of a cluster, and tolerate those that do not answer.

    Args:
        book: The cluster's open book.
        domain: Of its GTIDs.

    Returns:
        What those say that answer, and why the others do not.
    """
    agents = _tolerant(book, lambda host: host.ask(agents_of(book.params, host.name), quiet=True))
    asked = _tolerant(book, lambda host: host.ask(member_on(book.params, host.name), quiet=True))
    says = {node: one for node, one in agents.items() if isinstance(one, Says)}
    members = {node: one for node, one in asked.items() if isinstance(one, Member)}
    silent = {node: one for node, one in asked.items() if node not in members}
    why = "; ".join(f"{node}: {getattr(one, 'what', 'no member serves')}" for node, one in silent.items())
    return Side(says, members, domain), why


@contextlib.contextmanager
def away(book: Book, source: Source) -> Iterator[Book]:
    """Open the source's book on the same phase, for as long as it takes.

    Args:
        book: The standby's.
        source: The cluster that is followed.
    """
    other = Book(book.phase, source.params, cluster=source.cluster)
    try:
        yield other
    finally:
        other.close()


def look_at(book: Book) -> Pair:
    """Look at both clusters.

    Args:
        book: The standby's open book.

    Raises:
        UsageError: The parameters name no cluster to follow, or one that cannot be followed.
        OutOfOrder: The standby is not built, or its members elect no one.
    """
    source = source_of(book)
    if source is None:
        raise UsageError(
            "the parameters name no cluster that this one would follow",
            where=f"cluster {book.cluster.name}",
            wanted="standby_of: the parameters file of another cluster",
            seen="standby_of: ''",
            next="set standby_of; then: swarmbook standby PARAMS",
            code=Code.STANDBY_OF_NOTHING,
        )
    here, why = side_of(book, gtid_number(book.params))
    if not here.members or not any(one.term for one in here.says.values()):
        raise OutOfOrder(
            "build the standby first, with its endpoint",
            where=", ".join(book.params.members()),
            wanted="members that serve, and elect the one that follows",
            seen=why or "no election",
            next="swarmbook run PARAMS",
        )
    with away(book, source) as other, other.asking():
        there, why = side_of(other, source.domain)
        login = None
        if there.members:
            name, _ = login_at(book.params)
            found = other.fleet[next(iter(there.members))].ask(
                logins_of(service_name(other.params, next(iter(there.members))), [name], "/CN=-"), quiet=True
            )
            login = found.there.get(name) if found is not None else None
    return Pair(source, here, there if there.members else None, login, why)


def put_row(book: Book, side: Side, row: Row) -> None:
    """Write which cluster is followed, on a member that serves; Galera brings it to the others.

    Args:
        book: The open book of the cluster that follows.
        side: That cluster.
        row: What to write; names, addresses and GTIDs, none of which holds a quote.
    """
    node = next((name for name in side.members if name in side.says), "")
    put = _PUT.format(source=row.source, hosts=row.hosts, login=row.login, start=row.start, wanted=int(row.wanted))
    book.fleet[node].run(statement(side.says[node].container, f"{_TABLE}{put}"))
