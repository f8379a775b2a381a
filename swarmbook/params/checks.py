"""Checks across parameters: values that are valid alone and not together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from swarmbook.base.words import many
from swarmbook.model.moments import read_moment
from swarmbook.params.server_settings import refusals

if TYPE_CHECKING:
    from swarmbook.params import Params

__all__ = ["Mistake", "cross_checks"]


@dataclass(frozen=True, order=True)
class Mistake:
    """One thing wrong in a parameter file."""

    line: int
    key: str
    what: str
    fix: str


#: Folders of a system and of an engine: no data lies there nor below them.
_SYSTEM = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr",  # noqa: S108
    "/var/cache", "/var/lib/containerd", "/var/lib/docker", "/var/lib/dpkg", "/var/lib/rpm", "/var/lib/swarmbook", "/var/log", "/var/run",
    "/var/spool", "/var/tmp",  # noqa: S108
)  # fmt: skip
#: Folders that hold others' folders; data may lie below them.
_SHARED = ("/", "/home", "/media", "/mnt", "/opt", "/var", "/var/lib")

#: Of MariaDB itself, and of the book, which verifies by a login and in a schema of its own.
_RESERVED_USERS = ("root", "mysql", "swarmbook", "public", "mariadb")
#: `test` is dropped when a cluster is founded.
_RESERVED_SCHEMAS = (
    "mysql",
    "sys",
    "information_schema",
    "performance_schema",
    "test",
    "swarmbook",
    "swarmbook_verify",
)


#: Ports of a node that no parameter moves.
_PORTS = {
    22: "SSH", 53: "Consul's DNS", 2377: "the swarm's managers", 4789: "the overlay (VXLAN)", 7946: "the swarm's gossip", 8300: "Consul's servers",
    8301: "Consul's gossip", 8302: "Consul's gossip between datacenters",
}  # fmt: skip


def _may_hold_data(path: str) -> bool:
    plain = PurePosixPath(path)
    above = {str(folder) for folder in (plain, *plain.parents)}
    return ".." not in plain.parts and str(plain) not in _SHARED and not above & set(_SYSTEM)


def cross_checks(p: Params, bad: set[str]) -> Iterator[Mistake]:
    """Check values against each other; those in ``bad`` are defaults in place of unknown values, and prove nothing."""
    for key in ("nodes", "galera_nodes", "wipe_disks"):
        names: list[str] = getattr(p, key)
        for twice in sorted({n for n in names if names.count(n) > 1}):
            yield Mistake(0, key, f"{twice} is named twice", "name each node once")
    for key in ("galera_nodes", "wipe_disks"):
        for stranger in [n for n in getattr(p, key) if n not in p.nodes and "nodes" not in bad]:
            yield Mistake(0, key, f"{stranger} is not in nodes ({', '.join(p.nodes)})", "name a node of the cluster")
    if p.provider == "generic":
        yield from _check_hosts(p, bad)
    if p.provider == "softlayer" and not p.sl_domain and "provider" not in bad:
        yield Mistake(
            0,
            "sl_domain",
            "the softlayer provider needs a domain for its instances",
            "a domain such as example.com; it need not be registered",
        )
    if p.sl_os.startswith("CENTOS"):
        yield Mistake(
            0,
            "sl_os",
            f"{p.sl_os}: CentOS is discontinued, and the book supports Debian and Ubuntu",
            "a current one, such as UBUNTU_22_64 or DEBIAN_12_64",
        )
    if p.sl_public_vlan and p.sl_public_vlan == p.sl_private_vlan:
        yield Mistake(
            0,
            "sl_private_vlan",
            "the public and the private VLAN are the same",
            "`slcli vlan list` shows the ids of both",
        )
    if (p.storage_layout == "lvm-thin") != (p.storage_driver == "devicemapper") and not bad & {
        "storage_layout",
        "storage_driver",
    }:
        yield Mistake(
            0,
            "storage_driver",
            f"{p.storage_driver} on the layout {p.storage_layout}: devicemapper and lvm-thin require each other",
            "storage_driver: devicemapper for lvm-thin (engines before 25); overlay2 for every other layout",
        )
    elif (
        p.storage_driver == "btrfs" and p.storage_layout == "lvm-xfs" and not bad & {"storage_layout", "storage_driver"}
    ):
        yield Mistake(
            0,
            "storage_driver",
            "the btrfs driver works on btrfs only, and the layout is lvm-xfs",
            "storage_driver: overlay2, or storage_layout: lvm-btrfs",
        )
    if p.without:  # what is left of an odd number may be even
        pass
    elif p.swarm_managers not in (1, 3, 5, 7):
        lower = max(n for n in (1, 3, 5, 7) if n <= max(p.swarm_managers, 1))
        yield Mistake(
            0,
            "swarm_managers",
            f"{p.swarm_managers} managers: raft needs a majority, and an even number survives no more failures than the odd number below it",
            f"use {lower}" + (f" or {lower + 2}" if lower < 7 else ""),
        )
    elif p.swarm_managers > len(set(p.nodes)) and "nodes" not in bad:
        fitting = max(n for n in (1, 3, 5, 7) if n <= max(len(set(p.nodes)), 1))
        yield Mistake(
            0,
            "swarm_managers",
            f"{many(p.swarm_managers, 'manager')}, but {many(len(set(p.nodes)), 'node')}",
            f"use {fitting}, or name more nodes",
        )
    if p.certificate_renew_days >= p.certificate_days and "certificate_days" not in bad:
        yield Mistake(
            0,
            "certificate_renew_days",
            "a certificate would be renewed on every run",
            f"use less than certificate_days ({p.certificate_days})",
        )
    subnets: dict[str, Any] = {}
    for key in ("overlay_subnet", "swarm_address_pool"):
        try:
            subnets[key] = ipaddress.IPv4Network(getattr(p, key))
        except ValueError as error:
            yield Mistake(0, key, str(error), "an IPv4 network such as 10.200.0.0/24")
    if "swarm_address_pool" in subnets and subnets["swarm_address_pool"].prefixlen > 24:
        yield Mistake(
            0,
            "swarm_address_pool",
            f"{p.swarm_address_pool} is smaller than the /24 each network takes from it",
            "a /16, say",
        )
    if (
        len(subnets) == 2
        and "swarm_address_pool" not in bad
        and subnets["overlay_subnet"].overlaps(subnets["swarm_address_pool"])
    ):
        yield Mistake(
            0,
            "overlay_subnet",
            f"{p.overlay_subnet} overlaps swarm_address_pool {p.swarm_address_pool}",
            "choose two that do not share an address",
        )
    for network in p.mariadb_clients:
        try:
            ipaddress.IPv4Network(network)
        except ValueError as error:
            yield Mistake(0, "mariadb_clients", str(error), "IPv4 networks such as [10.1.0.0/16]; one address: /32")
    if p.overlay_encrypted == "always" and p.overlay_mtu % 4:
        yield Mistake(
            0,
            "overlay_mtu",
            f"{p.overlay_mtu}: the engine rounds the MTU of an encrypted overlay down to a multiple of 4",
            f"use {p.overlay_mtu - p.overlay_mtu % 4}",
        )
    yield from _check_ports(p, bad)
    yield from _check_settings(p, bad)
    if "overlay_subnet" in subnets and "overlay_subnet" not in bad and not bad & {"nodes", "galera_nodes"}:
        yield from _check_size(p, subnets["overlay_subnet"])
    for key in ("dns_primary", "dns_secondary"):
        value = getattr(p, key)
        if value:
            try:
                ipaddress.ip_address(value)
            except ValueError:
                yield Mistake(0, key, f"{value!r} is not an address", "an address such as 9.9.9.9, or empty")
    if p.mariadb_data_path and not _may_hold_data(p.mariadb_data_path):
        yield Mistake(
            0,
            "mariadb_data_path",
            f"{p.mariadb_data_path} is the system's, or an engine's",
            "a folder for data, such as /srv/mariadb",
        )
    if p.mariadb_cluster_name == "consul":
        yield Mistake(
            0, "mariadb_cluster_name", "'consul' is the name of Consul's own stack", "choose another, such as galera"
        )
    yield from _check_moment(p, bad)
    yield from _check_standby(p, bad)
    yield from _check_names(p, bad)
    for key in ("mariadb_user", "mariadb_admin"):
        if getattr(p, key) in _RESERVED_USERS:
            yield Mistake(
                0, key, f"{getattr(p, key)} is a login of the server's, or of the book's", "another name, such as app"
            )
    if p.mariadb_admin and p.mariadb_admin == p.mariadb_user:
        yield Mistake(0, "mariadb_admin", "it is mariadb_user too", "two names: an application is no administrator")
    if p.mariadb_database.lower() in _RESERVED_SCHEMAS:
        yield Mistake(
            0,
            "mariadb_database",
            f"{p.mariadb_database} is the server's, or the book's own",
            "another name, such as app",
        )
    if bool(p.mariadb_user) != bool(p.mariadb_database) and "mariadb_database" not in bad:
        yield Mistake(
            0, "mariadb_user", "mariadb_user and mariadb_database go together", "give both, or leave both empty"
        )


def _check_moment(p: Params, bad: set[str]) -> Iterator[Mistake]:
    """Refuse a moment that is none, and two of them."""
    if not p.restore_to or "restore_to" in bad:
        return
    try:
        read_moment(p.restore_to)
    except ValueError as error:
        yield Mistake(0, "restore_to", f"{p.restore_to}: {error}", "a time such as 2026-11-28 14:03:07, or a GTID")
    if p.restore_snapshot != "latest" and "restore_snapshot" not in bad:
        yield Mistake(
            0,
            "restore_to",
            f"two moments: that of the snapshot {p.restore_snapshot}, and {p.restore_to}",
            "one of both; for a moment, 27 finds the snapshot itself",
        )


def _check_standby(p: Params, bad: set[str]) -> Iterator[Mistake]:
    """Refuse a standby that could not follow: it counts GTIDs in its binary log, and its agents hold the writer's place."""
    if not p.standby_of or "standby_of" in bad:
        return
    if not p.mariadb_binlog_days and "mariadb_binlog_days" not in bad:
        yield Mistake(0, "mariadb_binlog_days", "0, and a standby goes on by the GTIDs in its binary log", "1 or more")
    if not p.with_endpoint and "with_endpoint" not in bad:
        yield Mistake(0, "with_endpoint", "false, and a standby's members elect who follows", "true")


def _check_names(p: Params, bad: set[str]) -> Iterator[Mistake]:
    """Refuse what would be known by a name of the endpoint's: a member is called by its cluster and its node."""
    roles = ("writer", "reader")
    for stranger in [
        name for name in dict.fromkeys(p.members()) if name in roles and not bad & {"nodes", "galera_nodes"}
    ]:
        yield Mistake(
            0, "galera_nodes" if p.galera_nodes else "nodes", f"the member on {stranger} would have the endpoint's name, {p.mariadb_cluster_name}-{stranger}", "another name for the node"
        )  # fmt: skip
    # What watches has services of these names in its stack, and a member is found by the end of its service's name.
    watchers = ("prometheus", "node-exporter", "mysqld-exporter")
    for stranger in [name for name in dict.fromkeys(p.nodes) if name in watchers and "nodes" not in bad]:
        yield Mistake(0, "nodes", f"{stranger} is the name of a service that watches", "another name for the node")
    if p.mariadb_cluster_name.endswith(tuple(f"-{each}" for each in (*roles, "endpoint", "watch"))):
        yield Mistake(
            0, "mariadb_cluster_name", f"{p.mariadb_cluster_name} could be a name of another database's endpoint, or of what watches it", "another one, such as galera"
        )  # fmt: skip


def _check_settings(p: Params, bad: set[str]) -> Iterator[Mistake]:
    """Refuse settings that would break the cluster; those in a file are refused by 07, before it changes anything."""
    if "mariadb_settings" in bad:
        return
    names = [entry.partition("=")[0] for entry in p.mariadb_settings if not entry.startswith("file:")]
    for refused in refusals(names):
        yield Mistake(0, "mariadb_settings", refused, "remove it")


def _check_ports(p: Params, bad: set[str]) -> Iterator[Mistake]:
    """Two that want one port of a node: the first of them would have it."""
    taken = dict(_PORTS)
    for key in ("docker_api_port", "consul_https_port", "mariadb_port", "endpoint_writer_port", "endpoint_reader_port"):
        port: int = getattr(p, key)
        if not port or key in bad:
            continue
        if port in taken:
            yield Mistake(0, key, f"{port} is the port of {taken[port]} on every node", "a port of its own")
        else:
            taken[port] = key


def _check_size(p: Params, subnet: ipaddress.IPv4Network) -> Iterator[Mistake]:
    """Refuse a network without an address for each member, for what 06 tries on each node, and for the engine of each node."""
    # Two more for each node where the endpoint is wanted, one where it is watched: whether 20 and 24 are run by hand, no parameter says.
    each = 2 + 2 * p.with_endpoint + p.with_watch
    wanted = len(set(p.members())) + each * len(set(p.nodes)) + 1 + 2 * p.with_watch
    if subnet.num_addresses - 2 < wanted:
        fitting = next(bits for bits in range(30, 0, -1) if 2 ** (32 - bits) - 2 >= wanted)
        yield Mistake(
            0,
            "overlay_subnet",
            f"{subnet} has {max(subnet.num_addresses - 2, 0)} addresses, and {wanted} are needed: one for each member, {('two', 'three', 'four', 'five')[each - 2]} for each "
            f"node, one for the gateway{', two for what watches' if p.with_watch else ''}",
            f"a /{fitting} or larger",
        )


def _check_hosts(p: Params, bad: set[str]) -> Iterator[Mistake]:
    for key in ("hosts", "private_addresses"):
        entries: list[str] = getattr(p, key)
        names = [entry.partition("=")[0] for entry in entries]
        ends = [entry.partition("=")[2] for entry in entries]
        for twice in sorted({n for n in names if names.count(n) > 1}):
            yield Mistake(0, key, f"{twice} is listed twice", "one entry for each node")
        for twice in sorted({end for end in ends if ends.count(end) > 1}):
            yield Mistake(
                0,
                key,
                f"{' and '.join(n for n, end in zip(names, ends) if end == twice)} are both {twice}",
                "give each node a host of its own",
            )
        if "nodes" not in bad:
            for stranger in [n for n in names if n not in (*p.nodes, *p.without)]:
                yield Mistake(
                    0, key, f"{stranger} is not in nodes ({', '.join(p.nodes)})", "name a node of the cluster"
                )
            lacking = [n for n in p.nodes if n not in names]
            if key == "hosts" and lacking and "hosts" not in bad:
                yield Mistake(
                    0,
                    key,
                    f"no host for {', '.join(lacking)}",
                    f"add {', '.join(f'{n}=USER@ADDRESS' for n in lacking)}, or remove the name from nodes",
                )
    for entry in p.private_addresses:
        try:
            ipaddress.IPv4Address(entry.partition("=")[2])
        except ValueError:
            yield Mistake(0, "private_addresses", f"{entry}: not an IPv4 address", "such as sw1=10.0.0.11")
    if not (p.ssh_key_file or p.ssh_config or p.ssh_agent) and "ssh_key_file" not in bad:
        yield Mistake(
            0,
            "ssh_key_file",
            "your hosts accept a key that you have, and no key is named",
            "the private key they accept, such as ~/.ssh/id_ed25519; or ssh_agent: SSH_AUTH_SOCK, or ssh_config: ~/.ssh/config",
        )
