"""Settings of one's own for the servers: what is taken, and what would break the cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmbook.base.codes import Code
from swarmbook.base.errors import ParameterError
from swarmbook.params import Params, load_params
from swarmbook.params.server_settings import refusals
from swarmbook.phases.galera.settings import settings_of
from swarmbook.testing.errors import raises

GALERA_CNF = """# as people have it
[client]
port = 3307
[mysqld]
max_connections = 500   # more
innodb-log-file-size=256M
sql_mode = STRICT_ALL_TABLES,NO_ZERO_DATE

[server]
event_scheduler=ON
skip_external_locking
[mysqldump]
quick
"""


@pytest.mark.parametrize("text", ["[max_connections=500, 'sql-mode=A,B']", "{max_connections: 500, sql-mode: 'A,B'}"])
def test_a_list_and_a_mapping_are_the_same(tmp_path: Path, text: str) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(f"cluster: lab\nmariadb_settings: {text}\n")
    params = load_params(file)
    assert settings_of(params) == "[mariadbd]\ninnodb_buffer_pool_size=128M\nmax_connections=500\nsql-mode=A,B\n"


def test_without_any_the_servers_settings_are_as_they_were() -> None:
    assert settings_of(Params()) == "[mariadbd]\ninnodb_buffer_pool_size=128M\n"


def test_the_binary_log_is_alike_on_all_members_and_another_in_each_cluster() -> None:
    lines = settings_of(Params(mariadb_binlog_days=3)).splitlines()[2:]
    assert {"log_bin=binlog", "log_slave_updates=ON", "sync_binlog=1", "binlog_expire_logs_seconds=259200"} < set(lines)
    (number,) = {line.partition("=")[2] for line in lines if line.startswith(("wsrep_gtid_domain_id", "server_id"))}
    other = settings_of(Params(cluster="other", mariadb_binlog_days=3))
    assert 10_000 <= int(number) < 100_000 and f"server_id={number}" not in other


def test_a_file_gives_what_a_server_would_read_of_it(tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text(GALERA_CNF)
    params = Params(mariadb_settings=[f"file:{tmp_path}/my.cnf", "max_connections=77"])
    assert settings_of(params).splitlines()[2:] == [
        "max_connections=77",
        "innodb-log-file-size=256M",
        "sql_mode=STRICT_ALL_TABLES,NO_ZERO_DATE",
        "event_scheduler=ON",
        "skip_external_locking",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "wsrep_on", "wsrep-cluster-address", "loose_wsrep_provider_options", "binlog-format", "innodb_autoinc_lock_mode", "datadir", "port",
        "bind-address", "ssl_ca", "require_secure_transport", "plugin_load_add", "skip-grant-tables", "read_only", "innodb_force_recovery", "sync_binlog", "gtid-strict-mode", "binlog_ignore_db", "encrypt_binlog",
        "innodb_buffer_pool_size", "local-infile", "enable-local-infile", "init_file", "log_bin", "server-id", "skip-networking",
        "innodb_flush_log_at_trx_commit",
    ],
)  # fmt: skip
def test_what_would_break_the_cluster_is_refused(name: str, tmp_path: Path) -> None:
    assert len(refusals([name])) == 1
    file = tmp_path / "lab.yaml"
    file.write_text(f"cluster: lab\nmariadb_settings:\n  {name}: 1\n")
    with pytest.raises(ParameterError, match="mariadb_settings") as caught:
        load_params(file)
    assert name in str(caught.value)
    (tmp_path / "my.cnf").write_text(f"[mysqld]\nmax_connections=5\n{name} = 1\n")
    with raises(Code.SETTINGS_REFUSED, "my.cnf, line 3", name):
        settings_of(Params(mariadb_settings=[f"file:{tmp_path}/my.cnf"]))


@pytest.mark.parametrize(
    "name", ["wsrep_slave_threads", "wsrep_sync_wait", "max_connections", "innodb_io_capacity", "sql_mode"]
)
def test_what_a_member_may_be_set_to(name: str) -> None:
    assert refusals([name]) == []


def test_of_a_file_and_the_list_the_later_wins_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text("[mysqld]\nmax-connections=500\n")
    file = f"file:{tmp_path}/my.cnf"
    assert settings_of(Params(mariadb_settings=[file, "max_connections=77"])).splitlines()[2:] == ["max_connections=77"]
    assert settings_of(Params(mariadb_settings=["max_connections=77", file])).splitlines()[2:] == [
        "max-connections=500"
    ]


def test_one_that_is_given_twice_is_refused() -> None:
    assert refusals(["max_connections", "max-connections"]) == ["max-connections: it is given twice"]


@pytest.mark.parametrize("line", ["!include /etc/passwd", "!includedir /etc"])
def test_a_file_reads_no_other(tmp_path: Path, line: str) -> None:
    (tmp_path / "my.cnf").write_text(f"[mysqld]\n{line}\n")
    with raises(Code.SETTINGS_REFUSED, "my.cnf, line 2"):
        settings_of(Params(mariadb_settings=[f"file:{tmp_path}/my.cnf"]))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with raises(Code.FILE_FAILED, "nowhere.cnf"):
        settings_of(Params(mariadb_settings=[f"file:{tmp_path}/nowhere.cnf"]))
