"""Phase 08: every member asked over SQL, with TLS and the CA verified, as a client would."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pymysql

from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.access.pki import Purpose, operator
from swarmbook.access.probe import Facts, Probe, address, line
from swarmbook.access.tls import NamedContext
from swarmbook.base.border import border, foreign, words
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, WorldError
from swarmbook.book.book import Book
from swarmbook.book.display import show_picture
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.model.material import Kind, found
from swarmbook.phases.galera.accounts import VERIFIER, VERIFY_SCHEMA
from swarmbook.phases.galera.members import of_service
from swarmbook.phases.galera.stack import member_name, service_name
from swarmbook.phases.galera.tables import replicated, tables_of
from swarmbook.show.drawing import Card, Part, topology

__all__ = ["connect", "replication", "state"]

#: The walkthrough's three, and what says that the member may be used.
_STATUS = (
    "wsrep_local_state_comment",
    "wsrep_cluster_size",
    "wsrep_cluster_state_uuid",
    "wsrep_cluster_status",
    "wsrep_ready",
    "wsrep_connected",
)
_SCHEMA = VERIFY_SCHEMA


@contextlib.contextmanager
def connect(book: Book, name: str, *, tls: bool = True, database: str | None = None) -> Iterator[Any]:
    """Connect to the member on a node, by the book's own certificate, through SSH: it needs no published port.

    Args:
        book: The open book.
        name: The node.
        tls: Off to see it refused.
        database: Default database.

    Raises:
        OutOfOrder: No member was ever started there.
        WorldError: It does not run, or does not let us in.
    """
    host = book.fleet[name]
    address = _address(book, host)  # which says so where 07 has not run: a look makes no authority
    authority = book.authority(Purpose.DATABASE)
    context = NamedContext.of(member_name(book.params, name), authority.bundle, operator(authority)) if tls else None
    with host.forward(address, 3306) as port:
        try:
            connection = pymysql.connect(
                host="127.0.0.1",
                port=port,
                user=VERIFIER,
                database=database,
                ssl=context,
                ssl_disabled=not tls,
                connect_timeout=book.params.wait_timeout,
                read_timeout=book.params.wait_timeout,
                write_timeout=book.params.wait_timeout,
            )
        except Exception as error:
            if not foreign(error):
                raise
            raise WorldError(
                f"the member on {name} does not let us in",
                where=name,
                wanted=f"{VERIFIER}, by a certificate",
                seen=words(error),
                next="swarmbook run PARAMS --from 07",
            ) from None
        book.transcript.record(
            name,  # typed here, recorded with its node, so that the order is the same every time
            # Not the port of this forward, which is gone by the time the record is read.
            f"mariadb --protocol=tcp --host=localhost --port=3306 --user={VERIFIER} --ssl-ca={authority.file} --ssl-verify-server-cert "
            "--ssl-cert=OPERATOR.pem --ssl-key=OPERATOR.key   # from here, through SSH; the certificate is made for this",
            0,
            0.0,
        )
        with (
            border(f"the member on {name} ended a statement", where=name, next=f"swarmbook logs PARAMS {name}"),
            contextlib.closing(connection),
        ):
            yield connection


@dataclass(frozen=True)
class Place:
    """Where a member's container is: its address on its node's own bridge, or how the last one ended."""

    address: str = ""
    ended: str = ""


def place_of(service: str) -> Probe[Place]:
    """Ask where the container of a service runs; overlay addresses are not reached from the node itself."""
    script = sh(
        """c=$(@!{containers} -q | head -n 1)
[ -n "$c" ] || { @!{containers} -a --format '{{.Status}}' | head -n 1 | as ended; exit; }
docker network inspect --format "{{(index .Containers \\"$c\\").IPv4Address}}" docker_gwbridge | as address""",
        containers=of_service(service),
    )

    def read(facts: Facts) -> Place:
        found = "".join(facts.get("address", ()))
        there = bool(found) and found != "<no value>"
        return Place(address(found) if there else "", line("".join(facts.get("ended", ()))))

    return Probe(script, read)


def _address(book: Book, host: Host) -> str:
    service = service_name(book.params, host.name)
    place = host.ask(place_of(service))
    if place.ended:
        raise WorldError(
            f"the member on {host.name} does not run",
            where=host.name,
            wanted=f"a running container of the service {service}",
            seen=place.ended,
            next=f"swarmbook logs PARAMS {host.name}; then: swarmbook run PARAMS --from 07",
            code=Code.MEMBER_DOWN,
        )
    if not place.address:
        raise OutOfOrder(
            f"run 07 first: no member of {book.params.mariadb_cluster_name} on {host.name}",
            where=host.name,
            wanted=f"a running container of the service {service}",
            next="swarmbook run PARAMS --from 07",
        )
    return place.address


@dataclass(frozen=True)
class _Answer:
    status: dict[str, str]
    cipher: str
    flush: str
    plaintext: str
    version: str


def _members(book: Book) -> int:
    return len(book.params.members())


@look(hosts=_members)
def state(book: Book) -> CheckTable:
    """Ask every member: Synced, size, one uuid, Primary, ready; over TLS, and plaintext refused."""
    members = book.params.members()

    def one(host: Host) -> _Answer:
        with connect(book, host.name) as connection, connection.cursor() as cursor:
            names = ", ".join(f"'{name}'" for name in (*_STATUS, "Ssl_version"))
            cursor.execute(f"SHOW STATUS WHERE Variable_name IN ({names})")
            status = {str(key): line(str(value)) for key, value in cursor.fetchall()}
            cursor.execute("SELECT @@innodb_flush_log_at_trx_commit, VERSION()")
            flush, version = (line(str(value)) for value in cursor.fetchone())
        try:
            with connect(book, host.name, tls=False):
                plaintext = "accepted"
        except WorldError:
            plaintext = "refused"
        return _Answer(status, status.get("Ssl_version", ""), flush, plaintext, version)

    seen = book.fleet.each(one, members)
    # Debian's says "11.8.6-MariaDB-0+deb13u1 from Debian".
    versions = {name: answer.version.partition(" ")[0] for name, answer in seen.items()}
    book.transcript.deployed(found(name, Kind.SERVER, "mariadb", version) for name, version in versions.items())
    uuids = {answer.status["wsrep_cluster_state_uuid"] for answer in seen.values()}
    rows = []
    for name, answer in seen.items():
        status = answer.status
        rows += [
            equal(name, "wsrep_local_state_comment", "Synced", status["wsrep_local_state_comment"]),
            equal(name, "wsrep_cluster_size", len(members), status["wsrep_cluster_size"]),
            Check(
                name,
                "wsrep_cluster_state_uuid",
                "one for all",
                "one for all" if len(uuids) == 1 else status["wsrep_cluster_state_uuid"],
                len(uuids) == 1,
            ),
            equal(name, "wsrep_cluster_status", "Primary", status["wsrep_cluster_status"]),
            equal(
                name,
                "wsrep_ready, wsrep_connected",
                "ON, ON",
                f"{status['wsrep_ready']}, {status['wsrep_connected']}",
            ),
            Check(
                name,
                "TLS, certificate verified",
                "TLSv1.2 or newer",
                answer.cipher or "none",
                answer.cipher in ("TLSv1.2", "TLSv1.3"),
            ),
            equal(name, "a login without TLS", "refused", answer.plaintext),
            equal(name, "innodb_flush_log_at_trx_commit", 1, answer.flush),
        ]
    tables = book.fleet[members[0]].ask(tables_of(service_name(book.params, members[0])))
    rows.append(replicated(tables, book.params.mariadb_unreplicated))
    show_picture(
        topology([_card(name, answer) for name, answer in seen.items()], "The members"),
        "the members: the table below",
    )
    return CheckTable(rows)


def _card(name: str, answer: _Answer) -> Card:
    status = answer.status
    found = {
        "state": (status["wsrep_local_state_comment"], "Synced"),
        "component": (status["wsrep_cluster_status"], "Primary"),
        "ready": (status["wsrep_ready"], "ON"),
        "plaintext": (answer.plaintext, "refused"),
    }
    return Card(
        name,
        (
            *(Part(part, seen, "ok" if seen == wanted else "bad") for part, (seen, wanted) in found.items()),
            Part("members", status["wsrep_cluster_size"], "ok"),
        ),
    )


@look(hosts=_members, traces=f"the database {_SCHEMA} with a row of each member")
def replication(book: Book) -> CheckTable:
    """Write a row on each member, read it on all others, and take it away again."""
    members = book.params.members()
    with contextlib.ExitStack() as stack:
        connections = {name: stack.enter_context(connect(book, name)) for name in members}
        cursors = {name: stack.enter_context(connection.cursor()) for name, connection in connections.items()}
        first = cursors[members[0]]
        first.execute(f"CREATE DATABASE IF NOT EXISTS {_SCHEMA}")
        first.execute(
            f"CREATE TABLE IF NOT EXISTS {_SCHEMA}.canary (run CHAR(20), member VARCHAR(64), PRIMARY KEY (run, member)) ENGINE=InnoDB"
        )
        run = f"{time.time_ns():020d}"
        try:
            for name, cursor in cursors.items():
                # Causality, for this session: wait until all that was committed elsewhere before has been applied here.
                cursor.execute("SET SESSION wsrep_sync_wait = 7")
                cursor.execute(f"INSERT INTO {_SCHEMA}.canary VALUES (%s, %s)", (run, name))  # noqa: S608
                connections[name].commit()
            rows = []
            for name, cursor in cursors.items():
                cursor.execute(f"SELECT member FROM {_SCHEMA}.canary WHERE run = %s ORDER BY member", (run,))  # noqa: S608
                seen = [row[0] for row in cursor.fetchall()]
                rows.append(equal(name, "rows of all members, read here", " ".join(sorted(members)), " ".join(seen)))
                connections[name].commit()
            return CheckTable(rows)
        finally:
            first.execute(f"DROP DATABASE IF EXISTS {_SCHEMA}")
