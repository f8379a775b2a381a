"""A matrix of parameters: every two values of every two parameters stand together in one of its rows at least.

The values follow from the schema: all of a list of words, both of a yes or no, the ends and the default of a number, and for texts
the examples below, without which a new parameter fails. What depends on another parameter is written as what it means (``all of the
nodes``), so that no row contradicts itself.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from allpairspy import AllPairs
from annotated_types import Ge, Le

from swarmbook.params import Params

__all__ = ["LAB", "rows"]

Row = dict[str, Any]

#: Parameters that are set together, or mean something in one provider only; each value sets several.
TOGETHER: dict[str, list[Row]] = {
    "machines": [{"nodes": [f"sw{n}" for n in range(1, count + 1)]} for count in (1, 2, 3, 5, 7)],
    "managers": [{"swarm_managers": count} for count in (1, 3, 5, 7)],
    "members": [{"galera_nodes": which} for which in ("all", "first", "last two, the last first")],
    "storage": [
        {"storage_layout": layout, "storage_driver": driver}
        for layout, driver in (
            ("auto", "overlay2"), ("auto", "btrfs"), ("btrfs", "btrfs"), ("btrfs", "overlay2"), ("lvm-btrfs", "btrfs"), ("lvm-xfs", "overlay2"),
            ("lvm-thin", "devicemapper"), ("existing", "overlay2"),
        )
    ],
    "wipe": [{"wipe_disks": which} for which in ("none", "all")],
    "certificates": [
        {"certificate_days": days, "certificate_renew_days": renew} for days, renew in ((365, 30), (1, 0), (365, 364), (30, 29))
    ],
    "names": [
        {"mariadb_user": "app", "mariadb_database": "app"}, {"mariadb_user": "", "mariadb_database": ""},
        {"mariadb_user": "u" * 32, "mariadb_database": "D" + "x" * 63},
    ],
    "networks": [
        {"overlay_subnet": subnet, "swarm_address_pool": pool}
        for subnet, pool in (("10.200.0.0/24", "10.201.0.0/16"), ("192.168.77.0/26", "172.29.0.0/16"), ("10.0.0.0/9", "10.128.0.0/9"))
    ],
}  # fmt: skip

#: Examples of texts and lists; the default comes first.
EXAMPLES: dict[str, list[Any]] = {
    "cluster": ["lab", "a1", "a-cluster-of-thirty-two-letters0"],
    "lab_base_image": ["debian:trixie-slim", "registry.example:5000/debian/base@sha256:" + "0" * 64],
    "packages": [[], ["libstdc++6", "jq"]],
    "docker_disk": ["auto", "/dev/disk/by-id/lab-second-disk"],
    "datacenter": ["lab1", "dc-2"],
    "instance_type": ["lab", "big"],
    "dns_primary": ["", "9.9.9.9", "2620:fe::9"],
    "dns_secondary": ["", "149.112.112.112"],
    "dns_search_domain": ["service.consul", "", "corp.example.com"],
    "log_max_size": ["10m", "1G"],
    "consul_gossip_key": ["generate"],
    "consul_management_token": ["generate"],
    "overlay_network": ["backend", "n2"],
    "mariadb_cluster_name": ["galera", "db-2"],
    "mariadb_clients": [["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], [], ["192.0.2.7/32"]],
    "mariadb_data_path": ["", "/srv/mariadb"],
    "mariadb_init_scripts": [""],
    "mariadb_unreplicated": [[], ["app.cache"]],
    "mariadb_settings": [[], ["max_connections=77", "sql-mode=STRICT_ALL_TABLES,NO_ZERO_DATE"]],
    "mariadb_buffer_pool": ["128M", "64M"],
    "mariadb_password": ["generate"],
    "mariadb_admin": ["", "dba"],
    "backup_repository": ["", "sftp:me@nas.example:/srv/galera"],
    "backup_password": ["generate"],
    "backup_keep": ["3 last, 7 daily, 4 weekly, 6 monthly", "", "3 last"],
}
#: What another provider needs, what a person types, and what only a command sets.
ELSEWHERE = {
    "provider",
    "ssh_key_file",
    "hosts",
    "private_addresses",
    "ssh_jump",
    "ssh_config",
    "ssh_agent",
    "without",
    "rotate",
    "replace",
    "roll",
    "recover_member",
    "restore_snapshot",
    "restore_cluster",
    "restore_to",
    "standby_of",
    "takeover",
    "on_finish",
    "on_failure",
    "confirm",
}
#: Ports that nothing else of the cluster has, the highest among them.
PORTS = {
    "docker_api_port": [2376, 2399], "consul_https_port": [8501, 65535], "mariadb_port": [0, 3306],
    "endpoint_writer_port": [0, 3307], "endpoint_reader_port": [0, 3308],
}  # fmt: skip
#: What a lab on a small computer without a registry lets vary; the live sample leaves the others at their defaults.
LAB = {
    "firewall", "datacenter", "instance_type", "dns_search_domain", "log_max_size", "log_max_files", "docker_api_port", "swarm_autolock",
    "consul_https_port", "overlay_network", "mariadb_cluster_name", "mariadb_version", "galera_nodes", "mariadb_port", "mariadb_clients", "mariadb_data_path",
    "mariadb_unreplicated", "mariadb_settings", "mariadb_user", "mariadb_database", "mariadb_password_plugin", "mariadb_admin", "overlay_subnet", "swarm_address_pool",
}  # fmt: skip


def values() -> dict[str, list[Any]]:
    """List the values of each parameter, or of each group of them.

    Raises:
        KeyError: A parameter has no example.
    """
    together = {name for choices in TOGETHER.values() for row in choices for name in row}
    found: dict[str, list[Any]] = dict(TOGETHER)
    hints = typing.get_type_hints(Params)
    for name, field in Params.model_fields.items():
        if name in together | ELSEWHERE or name.startswith("sl_"):
            continue
        kind = hints[name]
        if name in PORTS:
            found[name] = PORTS[name]
        elif get_origin(kind) is Literal:
            found[name] = list(get_args(kind))
        elif kind is bool:
            found[name] = [False, True]
        elif kind in (int, float):
            ends = [bound for each in field.metadata for bound in (_bound(each),) if bound is not None]
            found[name] = list(dict.fromkeys([field.default, *ends]))
        else:
            found[name] = EXAMPLES[name]
    return found


def _bound(limit: Any) -> Any:
    return limit.ge if isinstance(limit, Ge) else limit.le if isinstance(limit, Le) else None


def rows() -> Iterator[Row]:
    """Give the rows, each as parameters."""
    every = values()
    for drawn in AllPairs(list(every.values())):
        yield _meant(dict(zip(every, drawn)))


def _meant(drawn: Row) -> Row:
    row: Row = {}
    for name, value in drawn.items():
        row |= value if name in TOGETHER else {name: value}
    nodes = row["nodes"]
    # The nearest that these nodes can have.
    row["swarm_managers"] = max(count for count in (1, 3, 5, 7) if count <= min(row["swarm_managers"], len(nodes)))
    row["galera_nodes"] = {"all": [], "first": nodes[:1]}.get(row["galera_nodes"], nodes[:-3:-1])
    row["wipe_disks"] = {"all": nodes, "none": []}[row["wipe_disks"]]
    return row
