"""Phase 28, second step: this cluster follows another one."""

from __future__ import annotations

from dataclasses import dataclass

from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.wait import wait_for
from swarmbook.base.words import typed
from swarmbook.book.book import Book
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.model.gtids import number_in
from swarmbook.params import Params
from swarmbook.phases.endpoint.election import statement
from swarmbook.phases.galera.logins import Login
from swarmbook.phases.standby.member import Row, others
from swarmbook.phases.standby.pair import Pair, Side, away, look_at, put_row, side_of
from swarmbook.phases.support.members import member_name
from swarmbook.phases.support.source import gtid_number, login_at

__all__ = ["follow"]


@dataclass(frozen=True)
class Wanted:
    """How it is to be followed: the row, and the login at the source."""

    params: Params
    row: Row
    login: Login
    takes_over: bool


def start_of(pair: Pair) -> str:
    """Return the GTIDs behind which this cluster begins to follow; pure.

    Args:
        pair: Both clusters.

    Raises:
        WorldError: What is here is not what the other one had at some time.
    """
    there, domain, row = pair.there, pair.source.domain, pair.row
    assert there is not None
    # What came to the source from elsewhere is not asked for again: this cluster's own, and what members count by themselves.
    besides = others([there.written], domain)
    if row is not None and row.wanted and not row.hosts:
        # It was fenced when the other one took over, and that has all of it.
        return _joined(f"{domain}-{domain}-{max(pair.arrived, number_in(row.start, domain))}", besides)
    if row is not None and row.wanted:
        return row.start
    origin = max((number_in(member.origin, domain) for member in pair.here.members.values()), default=0)
    if row is not None:
        why = f"it took over, and has taken writes of its own since: {pair.here.own}"
    elif not origin:
        why = "nothing was restored here from a backup with GTIDs of that cluster"
    elif origin > there.own:
        why = f"the backup ends with transaction {origin}, and that cluster has come to {there.own}: it was restored since"
    else:
        return _joined(f"{domain}-{domain}-{origin}", besides)
    raise WorldError(
        f"this cluster does not hold what {pair.source.owner} held at any time, so it cannot follow it",
        where=", ".join(pair.here.members),
        wanted=f"a backup of {pair.source.owner}, restored here",
        seen=why,
        next=f"swarmbook backup {typed(pair.source.file)}; then: swarmbook restore PARAMS --of {pair.source.params.cluster}",
        code=Code.STANDBY_NOT_SEEDED,
    )


def _joined(*lists: str) -> str:
    return ",".join(each for each in lists if each)


class Follow(Step[Pair, Wanted]):
    """Have the member that holds the writer's place follow the other cluster; all members are fenced.

    Raises:
        UsageError: The parameters name no cluster that can be followed.
        OutOfOrder: This cluster, or its endpoint, is not built.
        WorldError: The other one does not answer, or this one was not made from a backup of it.
        WaitTimeout: It cannot be read from here.
    """

    name = "follow"

    def hosts(self, book: Book) -> int:
        return len(book.params.members())

    def observe(self, book: Book) -> Pair:
        return look_at(book)

    def want(self, book: Book, seen: Pair) -> Wanted:
        name, subject = login_at(book.params)
        hosts = " ".join(seen.source.hosts())
        takes_over = book.params.takeover != "no"
        row = Row(seen.source.owner, hosts, name)
        return Wanted(book.params, row, Login(subject=f"/CN={subject}", schema=""), takes_over)

    def plan(self, wanted: Wanted, seen: Pair) -> list[Change]:
        row = seen.row
        if wanted.takes_over:
            return []
        if seen.there is None and row is not None and row.follows:
            return []  # the source is away, and comes back or does not: there is nothing to do here
        if seen.there is None:
            raise WorldError(
                f"no member of {seen.source.owner} serves, so it cannot be followed",
                where=f"cluster {seen.source.params.cluster}",
                wanted="a cluster that serves",
                seen=seen.why,
                next=f"swarmbook status {typed(seen.source.file)}",
                code=Code.STANDBY_CANNOT_READ,
            )
        changes = []
        if seen.login != wanted.login:
            things = (seen.source.owner, wanted.row.login, wanted.login.words)
            changes.append(Change("cluster", Action.SOURCE_LOGIN, things))
        if row is None or not row.follows or (row.hosts, row.login) != (wanted.row.hosts, wanted.row.login):
            # Behind which GTIDs moves on while a plan is read, so it is no part of what is approved.
            start = start_of(seen)
            followed = (seen.source.owner, wanted.row.hosts)
            changes.append(Change("cluster", Action.FOLLOW, followed, because=f"behind GTID {start}"))
        return changes

    def apply(self, book: Book, wanted: Wanted, seen: Pair, changes: list[Change]) -> None:
        assert seen.there is not None
        with Todo(changes) as todo:
            for change in todo.take(Action.SOURCE_LOGIN):
                _let_in(book, seen, seen.there, change.things[1], wanted.login.subject)
            for change in todo.take(Action.FOLLOW):
                row = Row(change.things[0], change.things[1], wanted.row.login, start_of(seen))
                put_row(book, seen.here, row)
        self._wait(book, wanted)

    def _wait(self, book: Book, wanted: Wanted) -> None:
        def done() -> tuple[bool, str]:
            here, _ = side_of(book, gtid_number(book.params))
            holder = here.says.get(here.holder(wanted.params))
            replica = holder.replica if holder is not None else None
            state = "no member follows" if replica is None else f"{replica.state} {replica.error}".strip()
            return replica is not None and replica.state == "runs" and not here.open, state

        wait_for(
            f"{wanted.row.source} is followed, and all members are fenced",
            done,
            timeout_s=book.params.wait_timeout,
            where=f"cluster {book.cluster.name}",
            next="swarmbook explain standby-cannot-read",
            code=Code.STANDBY_CANNOT_READ,
            first_s=0.3,
        )

    def verify(self, wanted: Wanted, seen: Pair) -> list[Check]:
        if wanted.takes_over:
            return [Check("cluster", "follows", "until it takes over", _followed(seen), True)]
        here = seen.here
        holder = here.holder(wanted.params)
        replica = here.says[holder].replica if holder in here.says else None
        rows = [
            equal("cluster", "follows", seen.source.owner, _followed(seen)),
            equal("cluster", "its replica", "runs", replica.state if replica is not None else "none"),
        ]
        return [
            *rows,
            *(
                equal(node, f"{member_name(wanted.params, node)} takes writes", "no", "no" if one.read_only else "yes")
                for node, one in here.says.items()
            ),
        ]


follow = Follow()


def _followed(seen: Pair) -> str:
    return seen.row.source if seen.row is not None and seen.row.follows else "no one"


def _let_in(book: Book, seen: Pair, there: Side, name: str, subject: str) -> None:
    """Make the standby's login at its source: it may read the binary log, and nothing else."""
    by = f"IDENTIFIED BY '' REQUIRE SUBJECT '{subject}'"
    sql = f"CREATE USER IF NOT EXISTS '{name}'@'%' {by}; ALTER USER '{name}'@'%' {by} ACCOUNT UNLOCK; GRANT REPLICATION SLAVE ON *.* TO '{name}'@'%'"
    node = next(iter(there.members))
    with away(book, seen.source) as other, other.cluster.lock(f"{book.phase}: login of the standby"):
        other.fleet[node].run(statement(there.says[node].container, sql))
