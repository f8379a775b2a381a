"""Phase 08: every member asked over SQL, with TLS and the CA verified, as a client would."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarmbook.access.hosts import Host
from swarmbook.access.probe import line, number
from swarmbook.base.errors import WaitTimeout, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.display import show_picture
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.model.material import Kind, found
from swarmbook.phases.galera.tables import replicated, tables_of
from swarmbook.phases.support.members import service_name
from swarmbook.phases.support.positions import keep_positions
from swarmbook.phases.support.source import followed_by
from swarmbook.phases.support.sql import VERIFY_SCHEMA, connect
from swarmbook.show.drawing import Card, Part, topology

__all__ = ["replication", "state"]

#: The walkthrough's three, and what says that the member may be used.
_STATUS = (
    "wsrep_local_state_comment",
    "wsrep_cluster_size",
    "wsrep_cluster_state_uuid",
    "wsrep_cluster_status",
    "wsrep_ready",
    "wsrep_connected",
    "wsrep_last_committed",
)
_SCHEMA = VERIFY_SCHEMA
#: Seconds in which a member's agent may open it after it is Synced, on a busy computer too.
_OPEN_S = 30


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
    if all(row.ok for row in rows):
        keep_positions(book.cluster, book.params.mariadb_cluster_name, {name: _position(seen[name]) for name in seen})
    return CheckTable(rows)


def _position(answer: _Answer) -> tuple[str, int]:
    return answer.status["wsrep_cluster_state_uuid"], number(answer.status["wsrep_last_committed"])


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


def _open(cursors: Mapping[str, Any]) -> list[str]:
    found = []
    for name, cursor in cursors.items():
        cursor.execute("SELECT @@read_only")
        row = cursor.fetchone()
        found += [name] if row is not None and int(row[0]) == 0 else []
    return found


def _taking_writes(cursors: Mapping[str, Any]) -> list[str]:
    """Name the members that take writes; a member's agent opens it a moment after it is Synced."""

    def asked() -> tuple[bool, list[str]]:
        open_ = _open(cursors)
        return len(open_) in (1, len(cursors)), open_

    try:
        return wait_for("all members take writes, or the writer alone", asked, timeout_s=_OPEN_S)
    except WaitTimeout:
        return asked()[1]


def _replicated_from_afar(cursors: Mapping[str, Any], source: str) -> list[Check]:
    """Look at a standby: no one may write, and what any member has of its source's transactions, all have a moment later."""

    def positions(of: str) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for name, cursor in cursors.items():
            cursor.execute(f"SELECT {of}, @@wsrep_gtid_domain_id")
            gtids, own = (line(str(value)) for value in cursor.fetchone())
            found[name] = {}
            for domain, _, count in (gtid.split("-") for gtid in gtids.split(",") if gtid):
                if domain != own and int(domain) < 100_000:  # from there on, domains are members' own
                    found[name][domain] = max(found[name].get(domain, 0), number(count))
        return found

    before: dict[str, int] = {}
    for seen in positions("@@gtid_binlog_pos").values():
        for domain, count in seen.items():
            before[domain] = max(before.get(domain, 0), count)

    def late() -> tuple[bool, list[str]]:
        names = [
            name
            # What is filtered out is in no binary log, and yet the one with the replica is behind it.
            for name, seen in positions("CONCAT_WS(',', @@gtid_binlog_pos, @@gtid_slave_pos)").items()
            if any(seen.get(domain, 0) < count for domain, count in before.items())
        ]
        return not names, names

    try:
        behind = wait_for("all members have what came from the source", late, timeout_s=_OPEN_S)
    except WaitTimeout:
        behind = late()[1]
    open_ = _open(cursors)
    wanted = ", ".join(f"{domain}: {count}" for domain, count in sorted(before.items())) or "nothing yet"
    return [
        equal("cluster", f"members that take writes while it follows {source}", "none", " ".join(open_) or "none"),
        *(Check(name, "the source's transactions, by domain", wanted, wanted if name not in behind else "fewer", name not in behind) for name in cursors),
    ]  # fmt: skip


@look(hosts=_members, traces=f"the database {_SCHEMA} with a row of each member that takes writes")
def replication(book: Book) -> CheckTable:
    """Write a row on each member, or on the writer where there is one; read it on all members, and take it away again."""
    members = book.params.members()
    with contextlib.ExitStack() as stack:
        connections = {name: stack.enter_context(connect(book, name)) for name in members}
        cursors = {name: stack.enter_context(connection.cursor()) for name, connection in connections.items()}
        if source := book.fleet[members[0]].ask(followed_by(service_name(book.params, members[0]))):
            return CheckTable(_replicated_from_afar(cursors, source))
        open_ = _taking_writes(cursors)
        # All of them without an endpoint; where 20 was run, the others are fenced.
        taken = Check(
            "cluster", "members that take writes", "all, or the writer alone", " ".join(open_) or "none", len(open_) in (1, len(members))
        )  # fmt: skip
        if not taken.ok:
            return CheckTable([taken])
        first = cursors[open_[0]]
        first.execute(f"CREATE DATABASE IF NOT EXISTS {_SCHEMA}")
        first.execute(
            f"CREATE TABLE IF NOT EXISTS {_SCHEMA}.canary (run CHAR(20), member VARCHAR(64), PRIMARY KEY (run, member)) ENGINE=InnoDB"
        )
        run = f"{time.time_ns():020d}"
        try:
            for name in open_:
                # Causality, for this session: wait until all that was committed elsewhere before has been applied here.
                cursors[name].execute("SET SESSION wsrep_sync_wait = 7")
                cursors[name].execute(f"INSERT INTO {_SCHEMA}.canary VALUES (%s, %s)", (run, name))  # noqa: S608
                connections[name].commit()
            rows = [taken]
            for name, cursor in cursors.items():
                cursor.execute("SET SESSION wsrep_sync_wait = 7")
                cursor.execute(f"SELECT member FROM {_SCHEMA}.canary WHERE run = %s ORDER BY member", (run,))  # noqa: S608
                seen = [row[0] for row in cursor.fetchall()]
                rows.append(
                    equal(name, "rows of all that take writes, read here", " ".join(sorted(open_)), " ".join(seen))
                )
                connections[name].commit()
            return CheckTable(rows)
        finally:
            first.execute(f"DROP DATABASE IF EXISTS {_SCHEMA}")
