"""What binary logs a member has: two probes, and the choice of those that the archive lacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from swarmbook.access.commands import Script, sh
from swarmbook.access.probe import Facts, Probe, line, number
from swarmbook.model.archive import Span
from swarmbook.model.gtids import number_in
from swarmbook.model.moments import read_moment

__all__ = ["Closed", "Log", "Written", "closed", "lacked", "read_closed", "read_written", "stream", "written"]

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PATH = re.compile(r"(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")
_LOG = re.compile(r"[A-Za-z0-9_-]{1,64}\.[0-9]{6,10}")
_MOST = 100_000


@dataclass(frozen=True)
class Written:
    """How a member writes its binary log.

    Args:
        on: It does, with GTIDs that all members agree on.
        history: The ``uuid`` of the cluster's history.
        source: Domain and server of the GTIDs.
        number: Of the last transaction in the log.
        folder: Where the logs are, in its container.
    """

    on: bool
    history: str = ""
    source: str = ""
    number: int = 0
    folder: str = ""

    @property
    def domain(self) -> int:
        """The domain of the GTIDs."""
        return int(self.source.partition("-")[0])


_WRITTEN = (
    "SET SESSION wsrep_sync_wait = 0; SELECT 'on', @@log_bin AND @@log_slave_updates AND @@wsrep_gtid_mode; SELECT 'log', IFNULL(@@log_bin_basename, ''); "
    "SELECT 'seen', WSREP_LAST_SEEN_GTID(); SELECT 'written', @@gtid_binlog_pos; SHOW GLOBAL STATUS LIKE 'wsrep_cluster_state_uuid'"
)


def written(container: str) -> Probe[Written]:
    """Ask a member how it writes its binary log.

    Args:
        container: The member's.
    """
    script = sh(
        "docker exec @{container} mariadb --user=root --batch --skip-column-names -e @{sql} | as said",
        container=container,
        sql=_WRITTEN,
    )
    return Probe(script, read_written)


def read_written(facts: Facts) -> Written:
    """Read the facts of :func:`written`.

    Raises:
        ValueError: A fact is not what it should be.
    """
    said = {key: value for key, _, value in (each.partition("\t") for each in facts["said"] if each)}
    if said["on"] != "1":
        return Written(False)
    history, (folder, _, _) = said["wsrep_cluster_state_uuid"], said["log"].rpartition("/")
    if not _UUID.fullmatch(history) or not _PATH.fullmatch(folder):
        raise ValueError(f"no history, or no folder of logs: {line(history)!r}, {line(folder)!r}")
    source = read_moment(said["seen"]).source
    return Written(True, history, source, number_in(said["written"], int(source.partition("-")[0])), folder)


@dataclass(frozen=True)
class Log:
    """One binary log of a member.

    Args:
        name: Of its file.
        before: The number of the last transaction before it; 0 where it knows none.
        size: Its bytes.
    """

    name: str
    before: int
    size: int = 0


@dataclass(frozen=True)
class Closed:
    """The logs of a member, after the last of them was closed and another one begun.

    Args:
        until: Seconds since 1970; what was committed until then, on any member, is in those that are closed.
        logs: All of them, in order; the last one is being written.
    """

    until: int
    logs: tuple[Log, ...]


#: The member waits until it has what others had committed when it was asked. LOCAL: the others' logs go on.
_CLOSE = (
    "SET @until = UNIX_TIMESTAMP(); SET SESSION wsrep_sync_wait = 1; SELECT 1 FROM mysql.global_priv LIMIT 0; "
    "SET SESSION wsrep_sync_wait = 0; FLUSH LOCAL BINARY LOGS; SELECT CAST(@until AS UNSIGNED)"
)
_CLOSED = """q() { docker exec --interactive @{container} mariadb --user=root --batch --skip-column-names "$@"; }
q -e @{close} </dev/null | as until
q -e 'SHOW BINARY LOGS' </dev/null | as sizes
q -e 'SHOW BINARY LOGS' </dev/null | cut -f 1 | sed "s/.*/SHOW BINLOG EVENTS IN '&' LIMIT 3;/" | q | awk -F '\\t' '$3 == "Gtid_list" { print $1 "\\t" $6 }' | as before"""


def closed(container: str, domain: int) -> Probe[Closed]:
    """Have a member close its binary log and begin another one, and list all.

    Args:
        container: The member's.
        domain: Of the transactions that count.
    """
    return Probe(sh(_CLOSED, container=container, close=_CLOSE), lambda facts: read_closed(facts, domain))


def read_closed(facts: Facts, domain: int) -> Closed:
    """Read the facts of :func:`closed`.

    Raises:
        ValueError: A fact is not what it should be.
    """
    sizes = dict(each.split("\t")[:2] for each in facts["sizes"] if each)
    logs = []
    for each in filter(None, facts["before"]):
        name, _, before = each.partition("\t")
        if not _LOG.fullmatch(name):
            raise ValueError(f"no name of a log: {name[:80]!r}")
        logs.append(Log(name, number_in(before, domain), number(sizes[name])))
    if len(logs) != len(sizes) or not 0 < len(logs) <= _MOST:
        raise ValueError(f"{len(sizes)} binary logs, and {len(logs)} that say what was before them")
    until = number("".join(facts["until"]).strip(), 1 << 33)
    return Closed(until, tuple(logs))


def lacked(logs: Sequence[Log], last: int) -> tuple[list[Log], Span]:
    """Choose the logs that are closed and hold a transaction beyond a number; also return which transactions they hold by what they say.

    Example:
        >>> lacked([Log("b.000001", 0), Log("b.000002", 5), Log("b.000003", 9), Log("b.000004", 12)], 9)
        ([Log(name='b.000003', before=9, size=0)], (10, 12))

    Args:
        logs: All, in order; the last one is being written.
        last: The number.
    """
    found = [(log, after.before) for log, after in pairwise(logs) if after.before > last]
    return [log for log, _ in found], (found[0][0].before + 1, found[-1][1]) if found else (0, 0)


def stream(container: str, folder: str, names: Sequence[str]) -> Script:
    """Build the command that streams logs of a member.

    Args:
        container: The member's.
        folder: Where they are, in it.
        names: Which.
    """
    return sh(
        "docker exec --user mysql @{container} tar --create --file=- --directory @{folder} @{names}",
        container=container,
        folder=folder,
        names=names,
    )
