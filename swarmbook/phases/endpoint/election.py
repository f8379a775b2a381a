"""Phase 20, first step: an election among the members, so that one of them takes the writes."""

from __future__ import annotations

from collections.abc import Mapping

from swarmbook.access.commands import Script, sh
from swarmbook.base.errors import WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.params import Params
from swarmbook.phases.endpoint.agents import Says, ask_agents, writer_among
from swarmbook.phases.support.members import member_name

__all__ = ["elect", "statement"]

#: A table of one row. Agents read it; who claims the row of one term wins, or finds that another did.
_TABLE = (
    "CREATE DATABASE IF NOT EXISTS swarmbook; CREATE TABLE IF NOT EXISTS swarmbook.writer (id TINYINT NOT NULL PRIMARY KEY, "
    "term BIGINT UNSIGNED NOT NULL, uuid CHAR(36) NOT NULL, name VARCHAR(128) NOT NULL, asked VARCHAR(128) NOT NULL DEFAULT '', "
    "why VARCHAR(128) NOT NULL DEFAULT '', since DATETIME(3) NOT NULL) ENGINE=InnoDB"
)
_FIRST = (
    "INSERT IGNORE INTO swarmbook.writer SELECT 1, 1, node_uuid, node_name, '', 'the first one', UTC_TIMESTAMP(3) "
    "FROM mysql.wsrep_cluster_members WHERE node_name = '{member}'"
)


def statement(container: str, sql: str) -> Script:
    """Build the command that has a member's server run SQL, as root by its socket; nothing in it is a secret.

    Args:
        container: The member's.
        sql: The statements.
    """
    return sh("docker exec @{container} mariadb -e @{sql}", container=container, sql=sql)


class Elect(Step[Mapping[str, Says], Params]):
    """Make the members elect a writer; the others are fenced.

    Raises:
        OutOfOrder: A member does not run, or has no agent.
        WorldError: No member is Synced.
    """

    name = "election"

    def hosts(self, book: Book) -> int:
        return len(book.params.members())

    def observe(self, book: Book) -> Mapping[str, Says]:
        return ask_agents(book)

    def want(self, book: Book, seen: Mapping[str, Says]) -> Params:
        return book.params

    def plan(self, wanted: Params, seen: Mapping[str, Says]) -> list[Change]:
        if any(one.term for one in seen.values()):
            return []
        first = next((node for node, one in seen.items() if one.reader), None)
        if first is None:
            raise WorldError(
                "no member is Synced, so none can be the writer",
                where=", ".join(seen),
                wanted="a member that is Synced, in a primary component",
                seen="; ".join(f"{node}: {one.state}" for node, one in seen.items()),
                next="swarmbook run PARAMS --from 07",
            )
        return [Change("cluster", Action.ELECT, (member_name(wanted, first),))]

    def apply(self, book: Book, wanted: Params, seen: Mapping[str, Says], changes: list[Change]) -> None:
        with Todo(changes) as todo:
            for change in todo.take(Action.ELECT):
                member = change.things[0]
                node = next(node for node in seen if member_name(wanted, node) == member)
                sql = f"{_TABLE}; {_FIRST.format(member=member)}"
                book.fleet[node].run(statement(seen[node].container, sql))
        settled: dict[str, Says] = {}

        def done() -> tuple[bool, str]:
            settled.update(ask_agents(book))
            return all(check.ok for check in self.verify(wanted, settled)), "; ".join(
                f"{node}: {one.role}, term {one.term}" for node, one in settled.items()
            )

        wait_for(
            "one member is the writer, and the others are fenced",
            done,
            timeout_s=wanted.wait_timeout,
            where=", ".join(seen),
            next="swarmbook status PARAMS",
            first_s=0.2,
        )

    def verify(self, wanted: Params, seen: Mapping[str, Says]) -> list[Check]:
        writer = writer_among(wanted, seen)
        follows = next((one.follows for one in seen.values() if one.follows), "")
        what = f"the one that follows {follows}" if follows else "the writer"
        rows = [Check("cluster", what, "one member", member_name(wanted, writer) if writer else "none", bool(writer))]
        for node, one in seen.items():
            holds = "replica, fenced" if follows else "writer, open"
            expected = holds if node == writer else "reader, fenced"
            rows.append(
                equal(
                    node,
                    f"{member_name(wanted, node)} is",
                    expected,
                    f"{one.role}, {'fenced' if one.read_only else 'open'}",
                )
            )
        return rows

    def assume(self, ahead: Forecast, params: Params, seen: Mapping[str, Says] | None) -> Mapping[str, Says]:
        return seen or {node: Says("", reader=True) for node in params.members()}


elect = Elect()
