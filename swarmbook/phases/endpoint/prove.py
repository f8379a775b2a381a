"""Phase 20, third step: asked as an application asks, on every node."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarmbook.access.commands import lines, sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Facts, Probe, address, line
from swarmbook.base.border import foreign
from swarmbook.base.errors import OutOfOrder, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import CheckTable, equal
from swarmbook.params import Params
from swarmbook.phases.endpoint.agents import Says, ask_agents, writer_among
from swarmbook.phases.support.members import ROLES, endpoint_name, endpoint_service, member_name, of_service
from swarmbook.phases.support.sql import VERIFY_SCHEMA, connect

__all__ = ["names_of", "prove"]


@dataclass(frozen=True)
class _Answer:
    """Who answered at the endpoint's container of a node."""

    member: str
    read_only: bool
    tls: str


def names_of(params: Params) -> Probe[Mapping[str, tuple[str, ...]]]:
    """Ask what the endpoint's names resolve to in a container of a node.

    Args:
        params: The parameters.
    """
    service = endpoint_service(params, "writer")
    parts = [
        sh(
            """[ -z "$c" ] || docker exec "$c" getent ahostsv4 @{name} | cut -d' ' -f1 | sort -u | as @{role}""",
            name=endpoint_name(params, role),
            role=role,
        )
        for role in ROLES
    ]

    def read(facts: Facts) -> Mapping[str, tuple[str, ...]]:
        return {role: tuple(address(each) for each in facts.get(role, ()) if each) for role in ROLES}

    return Probe(lines(sh("c=$(@!{running} -q | head -n 1)", running=of_service(service)), *parts), read)


def _who(cursor: Any) -> _Answer:
    cursor.execute("SELECT @@wsrep_node_name, @@read_only")
    member, read_only = cursor.fetchone()
    cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_version'")
    return _Answer(line(str(member)), bool(int(read_only)), line(str(cursor.fetchone()[1])))


@look(traces=f"the database {VERIFY_SCHEMA} with one row")
def prove(book: Book) -> CheckTable:
    """Resolve both names in a container on each node, connect by both, write through the writer, read through the reader."""
    params = book.params
    says = ask_agents(book)
    writer = member_name(params, node) if (node := writer_among(params, says)) else "none"
    names = book.fleet.each(lambda host: host.ask(names_of(params)), book.ready())
    if follows := next((one.follows for one in says.values() if one.follows), ""):
        return _of_a_standby(book, says, names, follows)
    seen = _through(book)
    rows = []
    count = len(names)
    for node, (takes, gives, row) in seen.items():
        for role in ROLES:
            found = len(names[node][role])
            rows.append(
                equal(
                    node, f"{endpoint_name(params, role)}, in a container", f"{count} addresses", f"{found} addresses"
                )
            )
        rows += [
            equal(node, f"{endpoint_name(params, 'writer')} leads to", f"{writer}, open", _words(takes)),
            equal(node, f"{endpoint_name(params, 'reader')} leads to", "a member that is Synced", _of_the_synced(gives, params, says)),
            equal(node, "a row of the writer's, read by the reader", "there", "there" if row else "not there"),
            equal(node, "TLS, both names verified", "TLSv1.3, TLSv1.3", f"{takes.tls}, {gives.tls}"),
        ]  # fmt: skip
    for node, one in says.items():
        member = member_name(params, node)
        rows.append(
            equal(node, f"{member} takes writes", "yes" if member == writer else "no", "no" if one.read_only else "yes")
        )
    return CheckTable(rows)


def _of_a_standby(
    book: Book, says: Mapping[str, Says], names: Mapping[str, Mapping[str, tuple[str, ...]]], follows: str
) -> CheckTable:
    """Show that readers are served while another cluster is followed, and that no one may write."""
    params, count, rows = book.params, len(names), []

    def read(host: Host) -> _Answer:
        with connect(book, host.name, endpoint="reader") as connection, connection.cursor() as cursor:
            return _who(cursor)

    for node, gives in book.fleet.each(read, book.ready()).items():
        found = len(names[node]["reader"])
        rows += [
            equal(node, f"{endpoint_name(params, 'reader')}, in a container", f"{count} addresses", f"{found} addresses"),
            equal(node, f"{endpoint_name(params, 'reader')} leads to", "a member that is Synced", _of_the_synced(gives, params, says)),
            equal(node, "TLS, the name verified", "TLSv1.3", gives.tls),
        ]  # fmt: skip
    for node, one in says.items():
        rows.append(equal(node, f"takes writes while it follows {follows}", "no", "no" if one.read_only else "yes"))
    return CheckTable(rows)


def _through(book: Book) -> Mapping[str, tuple[_Answer, _Answer, bool]]:
    """Write a row through the writer, and read it through the readers of all nodes.

    A session is cut where its member is not the right one any more, and by a HAProxy that has just been started: as every
    application has to, this tries again.

    Raises:
        WaitTimeout: No try came to its end.
    """

    def attempt() -> tuple[bool, Mapping[str, tuple[_Answer, _Answer, bool]] | str]:
        try:
            return True, _once_through(book, f"{time.time_ns():020d}")
        except OutOfOrder:
            raise
        except WorldError as error:
            return False, error.seen or error.what

    found = wait_for(
        "a transaction passes through the endpoint",
        attempt,
        timeout_s=book.params.wait_timeout,
        where=endpoint_name(book.params, "writer"),
        next="swarmbook status PARAMS; swarmbook logs PARAMS",
        first_s=0.5,
    )
    assert not isinstance(found, str)
    return found


def _once_through(book: Book, run: str) -> Mapping[str, tuple[_Answer, _Answer, bool]]:
    with contextlib.ExitStack() as stack:
        through = stack.enter_context(connect(book, book.ready()[0], endpoint="writer"))
        cursor = stack.enter_context(through.cursor())
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {VERIFY_SCHEMA}")
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {VERIFY_SCHEMA}.through (run CHAR(20) PRIMARY KEY) ENGINE=InnoDB")
        try:
            cursor.execute(f"INSERT INTO {VERIFY_SCHEMA}.through VALUES (%s)", (run,))  # noqa: S608
            through.commit()
            return book.fleet.each(lambda host: _ask(book, host, run), book.ready())
        finally:
            try:
                through.rollback()
                cursor.execute(f"DROP DATABASE IF EXISTS {VERIFY_SCHEMA}")
            except Exception as error:  # of a session that was cut; the next try, or 08, drops it
                if not foreign(error):
                    raise


def _ask(book: Book, host: Host, run: str) -> tuple[_Answer, _Answer, bool]:
    with connect(book, host.name, endpoint="writer") as connection, connection.cursor() as cursor:
        takes = _who(cursor)
    with connect(book, host.name, endpoint="reader") as connection, connection.cursor() as cursor:
        gives = _who(cursor)
        cursor.execute("SET SESSION wsrep_sync_wait = 1")  # behind all that was committed before
        cursor.execute(f"SELECT COUNT(*) FROM {VERIFY_SCHEMA}.through WHERE run = %s", (run,))  # noqa: S608
        return takes, gives, int(cursor.fetchone()[0]) == 1


def _words(answer: _Answer) -> str:
    return f"{answer.member}, {'fenced' if answer.read_only else 'open'}"


def _of_the_synced(answer: _Answer, params: Params, says: Mapping[str, Any]) -> str:
    synced = {member_name(params, node) for node, one in says.items() if one.reader}
    return "a member that is Synced" if answer.member in synced else answer.member
