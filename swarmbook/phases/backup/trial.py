"""Phase 26, last step: the backup is restored for a trial, on a node and without a network, and every table is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarmbook.access.commands import Script, sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Facts, Probe, line, number
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder
from swarmbook.base.words import many
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Check, Table, equal
from swarmbook.model.snapshots import Snapshot, chosen
from swarmbook.phases.backup.source import source_among
from swarmbook.phases.backup.step import seen_in
from swarmbook.phases.endpoint.agents import ask_agents, writer_among
from swarmbook.phases.support.images import image_there
from swarmbook.phases.support.member_data import data_folder
from swarmbook.phases.support.repository import in_words, owner_of
from swarmbook.phases.support.throwaway import LOGIN, started
from swarmbook.phases.support.unpacking import fetch, removed, require_room, require_series

__all__ = ["Read", "compared", "prove", "read_tables"]

_CONTAINER, _FOLDER = "swarmbook-trial", "trial"
#: What Prometheus reads from the node: see 24.
_METRIC = "swarmbook_backup_last_verified_seconds"
_METRICS = "/etc/swarmbook/metrics/backup.prom"
#: Each server's own, or of the moment.
_OWN = ("mysql.", "sys.", "swarmbook.", "swarmbook_verify.")
_MOST = 100_000

#: ``CHECK TABLE`` and ``CHECKSUM TABLE`` for each table, made by the server itself.
_EACH = (
    "SELECT CONCAT('{verb} TABLE `', REPLACE(table_schema, '`', '``'), '`.`', REPLACE(table_name, '`', '``'), '`;') FROM information_schema.tables "
    "WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('information_schema', 'performance_schema', 'sys') ORDER BY table_schema, table_name"
)


@dataclass(frozen=True)
class Read:
    """What a server says of its tables.

    Args:
        tables: By name: what CHECK TABLE said; OK where all is well.
        sums: By name: the checksum.
    """

    tables: Mapping[str, str]
    sums: Mapping[str, str]

    @property
    def wrong(self) -> dict[str, str]:
        """Those that are not as they should be, and why."""
        return {name: said for name, said in self.tables.items() if said != "OK"}


def _sql(name: str, login: Sequence[str], verb: str) -> Script:
    """Build the command that has a server do something with each of its tables."""
    client = ["mariadb", *login, "--batch", "--skip-column-names", "--raw"]
    each = sh("@{client} -e @{sql} | @{client} --force", client=client, sql=_EACH.format(verb=verb))
    return sh("docker exec @{name} sh -c @{each}", name=name, each=each)


def tables_read(name: str, login: Sequence[str], *, check: bool = True) -> Probe[Read]:
    """Ask a server to check all of its tables, and for their checksums.

    Args:
        name: Its container.
        login: Options by which its client logs in.
        check: Off for the checksums alone.
    """
    checked = _sql(name, login, "CHECK") if check else sh(":")
    return Probe(
        sh("@!{check} | as checked\n@!{sums} | as sums", check=checked, sums=_sql(name, login, "CHECKSUM")), read_tables
    )


def read_tables(facts: Facts) -> Read:
    """Read the facts of :func:`tables_read`.

    Raises:
        ValueError: A fact is not what it should be.
    """
    if max(len(facts["checked"]), len(facts["sums"])) > _MOST:
        raise ValueError("more tables than are read")
    tables: dict[str, str] = {}
    for each in filter(None, facts["checked"]):
        name, _, kind, said = (line(part) for part in each.split("\t", 3))
        # A note says that an engine knows no check; whatever else is said first is worth more than the OK at the end.
        good = kind in ("status", "note") and (said == "OK" or "doesn't support check" in said)
        if tables.get(name, "OK") == "OK":
            tables[name] = "OK" if good else f"{kind}: {said}"
    sums = {}
    for each in filter(None, facts["sums"]):
        name, value = (line(part) for part in each.split("\t", 1))
        sums[name] = value if value == "NULL" else str(number(value, 1 << 64))
    return Read(tables, sums)


def compared(trial: Read, living: Read) -> tuple[int, list[str]]:
    """Compare the checksums of the application's tables: how many are equal, and which are not.

    Args:
        trial: What was restored.
        living: The member.
    """
    names = {name for name in (*trial.sums, *living.sums) if not name.startswith(_OWN)}
    other = sorted(name for name in names if trial.sums.get(name) != living.sums.get(name))
    return len(names) - len(other), other


@dataclass(frozen=True)
class _At:
    """Where a member stands, and what is free on its disk."""

    position: str
    free: int


def at(name: str, folder: str) -> Probe[_At]:
    """Ask where a member stands, and what is free there.

    Args:
        name: Its container.
        folder: Its data folder.
    """
    script = sh(
        "docker exec @{name} galera-status 2>/dev/null | as wsrep\ndf --output=avail -B1 @{folder} | tail -n 1 | tr -d ' ' | as free",
        name=name,
        folder=folder,
    )

    def read(facts: Facts) -> _At:
        said = json.loads("".join(facts["wsrep"]) or "{}")
        return _At(
            f"{said.get('cluster_state_uuid', '')}:{said.get('last_committed', '')}", number("".join(facts["free"]))
        )

    return Probe(script, read)


@look(hosts=1, traces="a container and a folder with the restored data")
def prove(book: Book) -> Table | list[Check]:
    """Restore the latest backup for a trial, and read every table of it."""
    params = book.params
    if not params.backup_verify:
        return Table(["restored for a trial"], [["no: backup_verify is false"]])
    restic, _, found = seen_in(book)
    snapshot = chosen(found, "latest", owner_of(book))
    if snapshot is None:
        raise OutOfOrder(
            "there is no backup that could be tried",
            where=restic.repository,
            wanted="a snapshot of this cluster",
            next="swarmbook backup PARAMS",
            code=Code.SNAPSHOT_UNKNOWN,
        )
    require_series(params.mariadb_version, snapshot, restic.repository)
    says = ask_agents(book, all_of_them=False)
    node = source_among(says, len(params.members()), writer_among(params, says))
    host, folder, member = book.fleet[node], data_folder(params), says[node].container
    before = host.ask(at(member, folder))
    require_room({node: before.free}, snapshot, {})
    image, work = image_there(book, "galera"), f"{folder}/{_FOLDER}"
    with book.cluster.lock(f"{book.phase}: trial"):
        try:
            fetch(book, restic, node, snapshot, image, _CONTAINER, work)
            trial = _tables_of_trial(book, host, image, work)
        finally:
            host.run(removed(_CONTAINER, work), check=False)
        rows = [
            Check(node, "restored for a trial", "a server starts on it", in_words(snapshot), True),
            equal(node, "tables that are not well", "none", "; ".join(f"{name}: {said}" for name, said in trial.wrong.items()) or "none"),
            Check(node, "tables read", "all", many(len(trial.tables), "table"), bool(trial.tables)),
        ]  # fmt: skip
        rows.append(_against_member(book, host, member, folder, snapshot, trial))
        if all(row.ok for row in rows):
            host.put(_METRICS, f"{_METRIC} {snapshot.time.timestamp():.0f}\n")
    book.keep_files({"backup-tables.json": json.dumps({"snapshot": snapshot.id, "position": snapshot.position, "checksums": dict(trial.sums)}, indent=2) + "\n"})  # fmt: skip
    return rows


def _tables_of_trial(book: Book, host: Host, image: str, work: str) -> Read:
    """Start a server on what was restored, without a network, and ask it."""
    started(
        book, host, _CONTAINER, image, work, ["--tmpdir=/tmp"], "take another backup: swarmbook backup PARAMS --verify"
    )
    return host.ask(tables_read(_CONTAINER, LOGIN), timeout_s=book.params.backup_timeout)


def _against_member(book: Book, host: Host, member: str, folder: str, snapshot: Snapshot, trial: Read) -> Check:
    """Compare with the member, where nothing was committed since the backup."""
    name, wanted = "checksums, against the member's", "the same for every table"
    for _ in range(2):
        if host.ask(at(member, folder)).position != snapshot.position:
            return Check(host.name, name, wanted, "not comparable: there were commits since the backup", True)
        living = host.ask(tables_read(member, ["--user=root"], check=False), timeout_s=book.params.backup_timeout)
        if host.ask(at(member, folder)).position == snapshot.position:
            equal_, other = compared(trial, living)
            return Check(host.name, name, wanted, f"different: {', '.join(other)}" if other else f"the same for {many(equal_, 'table')}", not other)  # fmt: skip
    return Check(host.name, name, wanted, "not comparable: there were commits meanwhile", True)
