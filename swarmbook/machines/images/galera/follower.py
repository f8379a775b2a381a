"""The replica of a standby: it runs on the member that would be the writer, and goes with that place.

The row ``swarmbook.following``, which Galera replicates, says which cluster is followed. Each transaction that comes from there keeps
its GTID in every member's binary log, so the member that runs the replica next goes on behind the last one that it has.

This file runs in the member's container (Python 3 alone, no package), and is imported by the book's tests.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["QUERY", "RETRY_S", "Follower", "Following", "Replica", "highest", "read_following", "read_replica"]

#: Asked with every look; a server without that table follows no one.
QUERY = "SELECT 'following', source, hosts, login, start, wanted FROM swarmbook.following WHERE id = 1;"
#: Seconds from one look at the replica to the next.
EVERY_S = 1.0
#: Seconds for which a replica may be without its source before it tries the next address, or is started again.
RETRY_S = 8.0
#: Seconds without a word from the source, after which the connection counts as lost; the source says something every 2 s.
_SILENT_S = 6
_TLS = ("/run/galera/tls", "/dev/shm/galera-tls")  # noqa: S108 - where the entrypoint puts keys, never on a disk
_PLACE = re.compile(r"([0-9A-Fa-f.:]{2,45}|\[[0-9A-Fa-f:]{2,45}\]):([0-9]{1,5})")
_GTID = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,19})")


@dataclass(frozen=True)
class Following:
    """What the row says.

    Args:
        source: Name of the cluster that is followed.
        hosts: Where its members are reached, each ADDRESS:PORT; none where this cluster only waits, fenced.
        login: Who reads there.
        start: GTIDs behind which a member begins that has nothing of the source's yet.
    """

    source: str
    hosts: tuple[tuple[str, int], ...]
    login: str
    start: str


@dataclass(frozen=True)
class Replica:
    """What the server says of its replica.

    Args:
        receives: It is connected to its source.
        applies: It applies what it has received.
        host: Of the source.
        seconds: By how much it is behind, as far as it knows.
        received: GTIDs up to which it has received.
        error: What stopped it, or keeps it from connecting.
    """

    receives: bool = False
    applies: bool = False
    host: tuple[str, int] | None = None
    seconds: int | None = None
    received: str = ""
    error: str = ""

    @property
    def state(self) -> str:
        """All of it in a word."""
        if self.receives and self.applies:
            return "runs"
        return "connects" if self.applies and not self.error else "stopped" if not self.applies else "no source"


def read_following(row: list[str]) -> Following | None:
    """Read the row of :data:`QUERY`; None where no one is followed."""
    if len(row) != 6 or row[5] != "1":
        return None
    places = (_PLACE.fullmatch(each) for each in row[2].split())
    hosts = tuple((each[1].strip("[]"), int(each[2])) for each in places if each)
    start = row[4] if all(_GTID.fullmatch(each) for each in row[4].split(",")) else ""
    return Following(re.sub(r"[^A-Za-z0-9._/-]", "", row[1]), hosts, re.sub(r"[^a-z0-9_]", "", row[3]), start)


def read_replica(said: str) -> Replica | None:
    """Read ``SHOW SLAVE STATUS\\G``; None where there is no replica."""
    found = {
        key.strip(): value.strip() for key, sep, value in (line.partition(":") for line in said.splitlines()) if sep
    }
    if "Slave_IO_Running" not in found:
        return None
    seconds = found.get("Seconds_Behind_Master", "")
    port = found.get("Master_Port", "")
    return Replica(
        found["Slave_IO_Running"] == "Yes",
        found.get("Slave_SQL_Running") == "Yes",
        (found.get("Master_Host", ""), int(port) if port.isdigit() else 0),
        int(seconds) if seconds.isdigit() else None,
        ",".join(each[0] for each in _GTID.finditer(found.get("Gtid_IO_Pos", ""))),
        (found.get("Last_SQL_Error") or found.get("Last_IO_Error") or "")[:300],
    )


def highest(*positions: str) -> str:
    """Return the highest GTID of each domain in several lists: behind these a member goes on.

    Example:
        >>> highest("7-7-12,9-9-1", "7-7-15", "")
        '7-7-15,9-9-1'
    """
    highest: dict[int, tuple[int, int]] = {}
    for match in _GTID.finditer(",".join(positions)):
        domain, server, number = int(match[1]), int(match[2]), int(match[3])
        highest[domain] = max(highest.get(domain, (0, 0)), (number, server))
    return ",".join(f"{domain}-{server}-{number}" for domain, (number, server) in sorted(highest.items()))


class Follower:
    """Starts the replica where it has to run, and stops it elsewhere.

    Args:
        ask: Has the server run statements; gives the rows of all of them.
        note: Writes a line to the log.
        status: Gives what ``SHOW SLAVE STATUS\\G`` says.
    """

    def __init__(
        self, ask: Callable[..., list[list[str]]], note: Callable[[str], None], status: Callable[[], str] | None = None
    ) -> None:
        self._ask, self._note, self._status = ask, note, status or _asked
        self._looked = float("-inf")
        self._well = float("-inf")
        self._at = 0
        self.replica: Replica | None = None
        self._running = False

    def look(self, following: Following | None, serves: bool, holds: bool, now: float) -> None:
        """Look at the replica, and do what is due.

        Args:
            following: Who is followed.
            serves: This member serves; where it does not, its replica cannot commit, and has stopped by itself.
            holds: This member is the one that would be the writer.
            now: Seconds, of a clock that only goes forward.
        """
        if not serves:
            return
        if following is None or not holds or not following.hosts:
            self.stop()
            return
        if now - self._looked < EVERY_S:
            return
        self._looked = now
        replica = self.replica = read_replica(self._status())
        if replica is not None and replica.receives and replica.applies:
            self._well, self._running = now, True
            if replica.host in following.hosts:
                return
        if not self._running or now - self._well >= RETRY_S or (replica is not None and not replica.applies):
            self._start(following, replica, now)

    def _start(self, following: Following, replica: Replica | None, now: float) -> None:
        if self._running:  # it was tried there
            self._at += 1
        host, port = following.hosts[self._at % len(following.hosts)]
        rows = self._ask(
            "SELECT 'pos', @@gtid_binlog_pos, @@gtid_slave_pos;",
            "SELECT 'kept', GROUP_CONCAT(CONCAT(domain_id, '-', server_id, '-', seq_no)) FROM "
            "(SELECT domain_id, server_id, MAX(seq_no) AS seq_no FROM mysql.gtid_slave_pos GROUP BY domain_id, server_id) k;",
            "SELECT 'own', @@wsrep_gtid_domain_id;",
        )
        said = {each[0]: each[1:] for each in rows if each}
        known = highest(*(each for key in ("pos", "kept") for each in said.get(key, ()))).split(",")
        # Of this cluster's own domain the source has what the row says: a number that it does not have is one it refuses. And domains
        # of members' own, in which each counts what is its alone, are no one's to go on behind.
        domains = {each.partition("-")[0] for each in following.start.split(",")} - set(said.get("own", ()))
        arrived = [each for each in known if each.partition("-")[0] in domains]
        # A number of 0 only names a domain of which nothing is here yet.
        begin = ",".join(each for each in highest(following.start, *arrived).split(",") if not each.endswith("-0"))
        tls = next((folder for folder in _TLS if os.path.exists(f"{folder}/source_ca.pem")), _TLS[0])
        error = replica.error if replica is not None else ""
        self._note(
            f"follows {following.source} at {host}:{port} behind {begin}" + (f" (before: {error})" if error else "")
        )
        rows = self._ask(
            "STOP SLAVE;",
            f"SET GLOBAL slave_net_timeout = {_SILENT_S}, slave_exec_mode = 'STRICT', gtid_slave_pos = '{begin}';",
            f"CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}, MASTER_USER = '{following.login}', MASTER_SSL = 1, "
            f"MASTER_SSL_CA = '{tls}/source_ca.pem', MASTER_SSL_CERT = '{tls}/source_cert.pem', MASTER_SSL_KEY = '{tls}/source_key.pem', "
            "MASTER_SSL_VERIFY_SERVER_CERT = 1, MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 2;",
            "START SLAVE;",
            timeout_s=20.0,
        )
        failed = [each[0] for each in rows if each[0].startswith("ERROR")]
        if failed:
            self._note(f"not followed: {failed[0]}")
        self._running, self._well = True, now

    def stop(self) -> None:
        """Stop the replica, where it runs; what it has received and not applied is asked for again where it runs next."""
        if not self._running:
            return
        self._ask("STOP SLAVE;", "RESET SLAVE ALL;", timeout_s=20.0)
        self._note("follows no more, here")
        self._running, self.replica, self._looked = False, None, float("-inf")


def _asked() -> str:
    # A client of its own: the agent's gives no names of columns, and their order is another one in each version.
    command = ["mariadb", "--user=mysql", "--connect-timeout=2", "--vertical", "--execute=SHOW SLAVE STATUS"]
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=2, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""
