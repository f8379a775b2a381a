"""The servers' settings: what the parameters say, and a my.cnf of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from swarmbook.base.border import border
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.params import Params
from swarmbook.params.server_settings import normal, refusals
from swarmbook.phases.support.source import gtid_number
from swarmbook.phases.support.sql import VERIFY_SCHEMA

__all__ = ["binlog_settings", "settings_of"]

#: What is written at most into one binary log before the next one is begun.
_LOG_SIZE = "64M"
_DAY = 86_400
#: A replica starts where the agent starts it. What belongs to one cluster alone does not come from the other. Logins do: a filter for
#: them holds on the member with the replica alone, since Galera has brought the statement to the others before it is asked (seen).
_STANDBY = (
    "skip_slave_start=ON",
    "relay_log=relay",
    *(f"replicate_wild_ignore_table={each}.%" for each in ("swarmbook", VERIFY_SCHEMA)),
)
_FILE = "file:"
#: Groups of an option file that a MariaDB server reads.
_GROUPS = re.compile(r"mariadbd|mysqld|server|mariadb|galera|(mariadbd|mysqld|mariadb)-\d+\.\d+")
_MOST = 64 << 10


def settings_of(params: Params) -> str:
    """Return the option file that each server reads beside its own.

    Args:
        params: The parameters.

    Raises:
        UsageError: A file that is named cannot be read, or a setting in it may not be given; names it with its line.
    """
    lines = [f"innodb_buffer_pool_size={params.mariadb_buffer_pool}", *binlog_settings(params)]
    # A later one wins, however its name is written.
    given: dict[str, tuple[str, str]] = {}
    for entry in params.mariadb_settings:
        if entry.startswith(_FILE):
            found = _read(Path(entry[len(_FILE) :]).expanduser())
        else:
            name, _, value = entry.partition("=")
            found = {name.strip(): value.strip()}
            if refused := refusals(found):
                raise _refused("mariadb_settings", refused)
        given |= {normal(name): (name, value) for name, value in found.items()}
    # Of a setting without a value, its name alone: so the file had it.
    lines += [f"{name}={value}" if value else name for name, value in given.values()]
    return "[mariadbd]\n" + "".join(f"{line}\n" for line in lines)


def binlog_settings(params: Params) -> list[str]:
    """Return the settings by which each member writes a binary log; nothing where none is wanted.

    Args:
        params: The parameters.
    """
    if not params.mariadb_binlog_days:
        return []
    number = gtid_number(params)
    return [
        "log_bin=binlog",
        "log_slave_updates=ON",
        # A transaction is durable when both logs have it: with 0, a power cut of all loses what was committed.
        "sync_binlog=1",
        f"max_binlog_size={_LOG_SIZE}",
        f"binlog_expire_logs_seconds={params.mariadb_binlog_days * _DAY}",
        # Since 11.4 logs are kept until a replica has read them, and there is none.
        "loose_slave_connections_needed_for_purge=0",
        "wsrep_gtid_mode=ON",
        f"wsrep_gtid_domain_id={number}",
        f"server_id={number}",
        *(_STANDBY if params.standby_of else ()),
    ]


def _read(file: Path) -> dict[str, str]:
    with border("the file of server settings cannot be read", next="correct mariadb_settings in the parameters"):
        text = file.read_bytes()[:_MOST].decode("utf-8")
    found = {}
    for number, name, value in _options(text):
        if refused := refusals([name]):
            raise _refused(f"{file}, line {number}", refused)
        found[name] = value
    return found


def _options(text: str) -> Iterator[tuple[int, str, str]]:
    """Give the options of the server's groups: line, name and value."""
    server = False
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            server = bool(_GROUPS.fullmatch(line.strip("[] \t").lower()))
        elif line.startswith("!"):
            yield number, line[1:].partition(" ")[0], ""
        elif server:
            name, _, value = re.sub(r"\s+#.*$", "", line).partition("=")
            yield number, name.strip(), value.strip()


def _refused(where: str, refused: list[str]) -> UsageError:
    return UsageError(
        "these settings may not be given to the servers",
        where=where,
        wanted="settings that leave the member in its cluster",
        seen="\n".join(refused),
        next="remove them; nothing was changed",
        code=Code.SETTINGS_REFUSED,
    )
