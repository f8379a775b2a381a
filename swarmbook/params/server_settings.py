"""Settings of one's own for the servers: which may be given, and which would break the cluster or are given elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["as_entries", "normal", "refusals"]

#: Settings that are not theirs to give, by regular expressions for their whole names; and why.
_NOT_YOURS = (
    (r"wsrep_(?!slave_threads$|retry_autocommit$|sync_wait$|trx_fragment_(size|unit)$|log_conflicts$).*", "it makes the member part of its cluster"),
    (r"binlog_format|innodb_autoinc_lock_mode|default_storage_engine|innodb_flush_log_at_trx_commit|innodb_doublewrite|sync_frm",
     "Galera needs it as it is, or members that crash lose what was committed"),
    (r"datadir|tmpdir|socket|port|bind_address|pid_file|user|basedir|plugin_dir|lc_messages_dir|innodb_(data_home_dir|log_group_home_dir|undo_directory|temp_data_file_path|data_file_path)|log_bin.*|relay_log.*|general_log_file|slow_query_log_file|log_error|secure_file_priv|init_file|character_sets_dir|chroot|server_id",
     "it is the container's"),
    (r"ssl.*|tls_version|require_secure_transport|plugin_load.*|plugin_maturity|skip_grant_tables|skip_networking|skip_name_resolve|local_infile|old_passwords|secure_auth|strict_password_validation|extra_(port|max_connections)",
     "it keeps out who may not come in"),
    (r"read_only|super_read_only|innodb_force_recovery|innodb_read_only|skip_slave_start|bootstrap|initialize|transaction_read_only|autocommit",
     "members would not serve"),
    (r"innodb_buffer_pool_size", "it is the parameter mariadb_buffer_pool"),
    (r"log_slave_updates|sync_binlog|max_binlog_(size|total_size)|binlog_(do_db|ignore_db|checksum|space_limit|expire_logs_seconds)|expire_logs_days|slave_connections_needed_for_purge|encrypt_binlog|gtid_.*",
     "the binary log is the parameter mariadb_binlog_days, and the archive reads it"),
    (r"include|includedir", "settings are read from no other file"),
)  # fmt: skip


def normal(name: str) -> str:
    """Return a setting's name as the server knows it.

    Example:
        >>> normal("Max-Connections"), normal("loose_skip-name-resolve")
        ('max_connections', 'skip_name_resolve')

    Args:
        name: As it is written: with hyphens or underscores, and perhaps a prefix by which the server forgives what it does not know.
    """
    plain = name.strip().lower().replace("-", "_")
    return re.sub(r"^(loose|maximum|enable|disable)_", "", plain)


def refusals(names: Iterable[str]) -> list[str]:
    """Say of each setting that may not be given why not; also of one that is given twice.

    Args:
        names: As they are written.
    """
    found, seen = [], set[str]()
    for name in names:
        plain = normal(name)
        bare = plain.removeprefix("skip_")
        why = next(
            (why for pattern, why in _NOT_YOURS if re.fullmatch(pattern, plain) or re.fullmatch(pattern, bare)), ""
        )
        if plain in seen:
            why = "it is given twice"
        seen.add(plain)
        if why:
            found.append(f"{name}: {why}")
    return found


def as_entries(given: Any) -> Any:
    """Return settings as a list of ``NAME=VALUE``, where a file has a mapping of them, or one file's name alone.

    Example:
        >>> as_entries({"max_connections": 500, "log_warnings": 2, "event_scheduler": True})
        ['max_connections=500', 'log_warnings=2', 'event_scheduler=ON']
        >>> as_entries("file:my.cnf")
        ['file:my.cnf']

    Args:
        given: As it was read; what is neither comes back as it is.
    """
    words = {True: "ON", False: "OFF"}
    if isinstance(given, Mapping):
        return [f"{name}={words[value] if isinstance(value, bool) else value}" for name, value in given.items()]
    return [given] if isinstance(given, str) else given
