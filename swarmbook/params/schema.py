"""Every parameter once: name, type, default, one line of help, the phases that use it.

Parameters live in flat YAML (so that ``papermill -f`` takes the same file) and are strict: an unknown key, a wrong
type, a key given twice and two values that contradict each other are all reported at once, each with file, line and fix.
A parameter never holds a secret, only a reference to one (see :mod:`swarmbook.base.secrets`).
"""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from swarmbook.model.phases import PHASES
from swarmbook.params.guarded import Guarded

# isort: off
from swarmbook.params.kinds import (
    Address, AddressEntry, Database, DiskDevice, Domain, Endpoint, HookTarget, HostEntry, HostFolder, HostLogin, Image, Kept, Label, LocalPath, Moment, Name,
    NameOrNone, Network, Package, Port, RentedDomain, Repository, Rotates, SecretReference, Series, Setting, Size, SnapshotId, SystemCode, Table, User, Word,
)  # fmt: skip
# isort: on

__all__ = ["Params", "phase_params"]

_ALL = tuple(PHASES)


def _p(default: Any, phases: str | tuple[str, ...], help: str, **limits: Any) -> Any:
    names = phases if isinstance(phases, tuple) else tuple(phases.split())
    return Field(default=default, description=help, json_schema_extra={"phases": list(names)}, **limits)


class Params(BaseModel):
    """All parameters of a book; frozen and strict."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    cluster: Name = _p("lab", _ALL, "name of the cluster; also names its folder and labels everything in it")
    nodes: list[Name] = _p(["sw1", "sw2", "sw3"], _ALL, "names of the nodes, in order", min_length=1, max_length=50)
    without: list[Name] = _p(
        [],
        "02 03 04 05 06 07 08 09 20 21 22 23 24 25 26 27 28 29 30 90",
        "nodes that are gone: everything goes on without them, and what is on them stays; set by --without, which takes them out of nodes",
    )
    provider: Literal["lab", "generic", "softlayer"] = _p(
        "lab",
        "00 01 02 03 05 21 22 23 30 90 91",
        "where the machines come from: lab (this computer), generic (your own hosts) or softlayer (rented, costs money)",
    )
    wait_timeout: int = _p(
        300,
        "01 02 03 04 05 06 07 08 09 20 21 22 23 24 25 26 27 28 29 30 90 91",
        "maximum seconds for any single wait",
        ge=10,
        le=7200,
    )
    lab_disk_gb: int = _p(10, "00 01 22", "size of a lab machine's second disk, GiB (a sparse file)", ge=1, le=2000)
    lab_hourly_cost: float = _p(
        0.0,
        "00 01",
        "pretend hourly price of a lab machine; above 0, creating one must be confirmed with ORDER, like renting one",
        ge=0,
        le=1000,
    )
    lab_base_image: Image = _p(
        "debian:trixie-slim",
        "01 03 04 05 06 07 20 21 22 23 24 25 26 27 91",
        "base of the images; mmdebstrap builds one if pulling fails",
    )
    ssh_key_file: LocalPath = _p(
        "",
        "00 01",
        "private SSH key for the nodes, without a passphrase; a relative path starts at the book's folder; empty: swarmbook generates a key",
    )
    hosts: list[HostEntry] = _p(
        [],
        "00 01",
        "your own hosts, NAME=[USER@]ADDRESS[:PORT] for each node; a user other than root needs sudo without a password",
    )
    private_addresses: list[AddressEntry] = _p(
        [],
        "01",
        "NAME=ADDRESS where other nodes reach a host; default: its address in hosts, or the one it sends from",
    )
    ssh_jump: HostLogin = _p("", "00 01", "jump host on the way to the hosts, [USER@]ADDRESS[:PORT]; empty: none")
    ssh_config: LocalPath = _p(
        "",
        "00 01",
        "SSH configuration in which hosts and ssh_jump are looked up by name, such as ~/.ssh/config; empty: they are addresses",
    )
    ssh_agent: LocalPath = _p(
        "",
        "00 01",
        "agent whose keys log in to your own hosts: SSH_AUTH_SOCK, or the path of its socket; empty: none",
    )
    sl_endpoint: Endpoint = _p(
        "",
        "00 01 21 22 23 91",
        "URL of SoftLayer's API; empty: the one in ~/.softlayer, or else the public one; rehearsal: lab machines, nothing is rented",
    )
    sl_domain: RentedDomain = _p(
        "",
        "01 21 22 23 91",
        "domain of the instances, such as example.com",
    )
    sl_region: Name = _p("dal10", "01", "datacenter in which the instances are ordered")
    sl_cpu: int = _p(2, "01", "cores per instance", ge=1, le=64)
    sl_memory: int = _p(4096, "01", "memory per instance, MB", ge=1024, le=262144)
    sl_billing: Literal["hourly", "monthly"] = _p("hourly", "01", "how instances are billed: hourly or monthly")
    sl_os: SystemCode = _p(
        "UBUNTU_22_64", "01", "reference code of the operating system; checked against what the account offers"
    )
    sl_os_disk: int = _p(25, "01", "size of the system disk, GB", ge=25, le=2000)
    sl_docker_disk: int = _p(100, "01", "size of the second disk, for Docker, GB", ge=10, le=2000)
    sl_local_disk: bool = _p(True, "01", "true: disks local to the instance's machine; false: disks on the SAN")
    sl_network_speed: int = _p(100, "01", "speed of the network ports, Mbps", ge=10, le=10000)
    sl_public_vlan: int = _p(0, "01", "id (not number) of the public VLAN; 0: the service chooses", ge=0)
    sl_private_vlan: int = _p(0, "01", "id (not number) of the private VLAN; 0: the service chooses", ge=0)
    sl_tags: list[Name] = _p([], "01 22", "tags for the instances, in addition to the cluster's own")
    sl_ssh_interface: Literal["public", "private"] = _p(
        "public", "01 22", "address at which this computer reaches the nodes: public or private"
    )
    sl_ssh_key_label: Label = _p("", "01 21 22 23 91", "label of the SSH key in the account; empty: swarmbook-CLUSTER")
    sl_wait_timeout: int = _p(
        1800, "01 21 22 23 91", "time limit for an order or a cancellation to complete, seconds", ge=10, le=14400
    )
    system_update: bool = _p(False, "02", "upgrade the system's packages first")
    packages: list[Package] = _p([], "02", "packages to install in addition to those that the storage layout needs")
    storage_layout: Literal["auto", "lvm-btrfs", "btrfs", "lvm-xfs", "lvm-thin", "existing"] = _p(
        "auto",
        "02",
        "layout of the second disk: lvm-btrfs, btrfs, lvm-xfs, lvm-thin, existing (leave it alone); auto: chosen by what the kernel supports",
    )
    docker_disk: DiskDevice = _p(
        "auto",
        "02 90",
        "device of the second disk on every node; auto: the one that the provider names, or else the only empty one",
    )
    wipe_disks: list[Name] = _p([], "02", "nodes whose second disk may be wiped even if it holds foreign data")
    firewall: Literal["auto", "always", "never"] = _p(
        "auto",
        "01 02 03 05",
        "a wall of nftables on every node, which lets the nodes alone into the cluster's ports: always, never, or auto (on your own hosts and rented ones, not in the lab)",
    )
    datacenter: Name = _p("lab1", "03 04 24", "value of the engine label dc=, and name of Consul's datacenter")
    instance_type: Name = _p("lab", "03", "value of the engine label instance_type=")
    docker_source: Literal["system", "docker"] = _p(
        "system", "02 03", "where the engine comes from: the system's package (system) or Docker's repository (docker)"
    )
    storage_driver: Literal["btrfs", "devicemapper", "overlay2"] = _p(
        "overlay2", "03", "the engine's storage driver; devicemapper and the layout lvm-thin require each other"
    )
    dns_primary: Address = _p("", "03 04", "upstream name server; empty: those that the node itself uses")
    dns_secondary: Address = _p("", "03 04", "second upstream name server; empty: none")
    dns_search_domain: Domain = _p("service.consul", "03", "search domain of the containers; empty: none")
    log_max_size: Size = _p("10m", "03", "size at which a container's log is rotated")
    log_max_files: int = _p(3, "03", "maximum number of log files per container", ge=1, le=100)
    docker_api_port: Port = _p(
        2376, "01 03 04 05 06 07 08 20 21 22 23 24 25 26 27 28 29 90", "port of the engine's API (mutual TLS)"
    )
    swarm_managers: int = _p(
        3, "00 03 05 21 22 24", "number of nodes that are managers: 1, 3, 5 or 7; the rest are workers"
    )
    swarm_autolock: bool = _p(
        False,
        "03 05 22 25 27 29",
        "whether managers ask for a key, kept in the cluster's folder, whenever their engine starts",
    )
    swarm_address_pool: Network = _p("10.201.0.0/16", "03", "address pool for the swarm's networks that name no subnet")
    certificate_days: int = _p(365, "03 04 05 07", "lifetime of a certificate, days", ge=1, le=365)
    certificate_renew_days: int = _p(30, "03 04 05 07 24", "renew a certificate this many days before it expires", ge=0)
    consul_https_port: Port = _p(8501, "01 03 04 05 07 21 22 24 90", "port of Consul's HTTPS API on every node")
    consul_gossip_key: SecretReference = _p(
        "generate", "04 29", "gossip encryption key: generate, env:NAME or file:PATH"
    )
    consul_management_token: SecretReference = _p(
        "generate", "04 07 21 22 24 29 90", "Consul's management token (a UUID): generate, env:NAME or file:PATH"
    )
    consul_source: Literal["auto", "hashicorp", "debian"] = _p(
        "auto",
        "03 04 05 06",
        "where Consul comes from: hashicorp (signed release), debian (1.8.7, no security updates), auto: the release if it can be reached",
    )
    overlay_network: Name = _p("backend", "06 07 20 24 90", "name of the overlay network")
    overlay_subnet: Network = _p("10.200.0.0/24", "06 07 24", "subnet of the overlay network")
    overlay_mtu: int = _p(
        0,
        "01 06",
        "MTU of the overlay, bytes; 0: the smallest MTU of the nodes, minus 50 for VXLAN and 26 for ESP where it is encrypted",
        ge=0,
        le=9000,
    )
    overlay_encrypted: Literal["auto", "always", "never"] = _p(
        "auto",
        "06",
        "whether the overlay is encrypted (ESP): always, never, or auto (a new one is where every node's kernel has ESP)",
    )
    mariadb_cluster_name: Name = _p(
        "galera",
        "07 08 09 20 21 22 23 24 25 26 27 28 29 30 90",
        "name of the Galera cluster, its services and its secrets",
    )
    galera_nodes: list[Name] = _p(
        [], "00 03 07 08 09 20 21 22 23 24 25 26 27 28 30", "nodes that run a Galera member; empty: all"
    )
    mariadb_version: Series = _p(
        "11.8",
        "03 07 26 27",
        "MariaDB's series: Debian 13's or Debian 12's; a later one upgrades a running cluster, member after member, and none leads back",
    )
    mariadb_port: int = _p(0, "01 03 05 07 08 22", "port of each member on its host; 0: not published", ge=0, le=65535)
    mariadb_clients: list[Network] = _p(
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
        "01 03 05",
        "networks whose hosts the wall lets into mariadb_port, besides the nodes; default: all private ones",
    )
    mariadb_data_path: HostFolder = _p(
        "", "07 21 22 23 25 26 27 28 30 90", "folder for the data on the node; empty: a named volume"
    )
    mariadb_init_scripts: LocalPath = _p(
        "",
        "07",
        "local folder of *.sql (also .gz, .xz, .zst, .bz2) and *.sh, run once on the first member; what they source lies beside them",
    )
    mariadb_unreplicated: list[Table] = _p(
        [], "08", "tables, as DATABASE.TABLE, that need not be replicated: 08 passes over their engine and primary key"
    )
    mariadb_buffer_pool: Size = _p("128M", "07", "innodb_buffer_pool_size of each member")
    mariadb_settings: list[Setting] = _p(
        [],
        "07",
        "settings of your own for each server, NAME=VALUE or file:my.cnf; what would break the cluster is refused",
    )
    mariadb_binlog_days: int = _p(
        0,
        "07",
        "days for which each member keeps its binary log, from which 26 archives and 27 restores to a moment; 0: none is written",
        ge=0,
        le=99,
    )
    mariadb_database: Database = _p("app", "07 08 09 30", "database created at the bootstrap")
    mariadb_user: User = _p("app", "07 08 09 29 30", "user of mariadb_database")
    mariadb_password: SecretReference = _p(
        "generate", "07 09 29 30", "mariadb_user's password: generate, env:NAME or file:PATH"
    )
    mariadb_password_plugin: Literal["ed25519", "mysql_native_password"] = _p(
        "ed25519",
        "07",
        "how the server keeps mariadb_user's password: ed25519; or mysql_native_password, for clients that know nothing else (PHP's mysqlnd, MySQL's own)",
    )
    mariadb_admin: User = _p(
        "",
        "07",
        "an administrator who logs in over the network by a certificate, pki/database/MARIADB_CLUSTER_NAME.NAME; empty: none",
    )
    roll: Literal["", "members", "engines", "system"] = _p(
        "",
        "22",
        "what is restarted or renewed node after node: members, engines, or system (packages brought up to date, reboot); empty: nothing",
    )
    replace: list[Name] = _p(
        [],
        "23",
        "nodes whose machine is gone for good, or should be: it is removed, and 01 makes another one of the same name",
    )
    recover_member: NameOrNone = _p(
        "",
        "25",
        "the node whose member goes on after an outage of all, chosen by hand: what others have beyond it is lost; empty: the one that is right for certain",
    )
    backup_repository: Repository = _p(
        "",
        "26 27",
        "where backups are: a folder of this computer, sftp:, rest: or s3: as restic writes them; empty: backups/CLUSTER in the book's folder",
    )
    backup_password: SecretReference = _p(
        "generate",
        "26 27",
        "the repository's password, without which no backup can be read: generate, env:NAME or file:PATH",
    )
    backup_keep: Kept = _p(
        "3 last, 7 daily, 4 weekly, 6 monthly", "26", "which backups are kept when another one was taken; empty: all"
    )
    backup_verify: bool = _p(False, "26", "whether 26 restores the backup for a trial, and reads every table")
    archive_days: int = _p(7, "26", "days for which the archive of binary logs is kept", ge=1, le=99)
    backup_timeout: int = _p(14400, "26 27", "maximum seconds for a backup or a restore", ge=60, le=604800)
    restore_snapshot: SnapshotId = _p(
        "latest", "27", "the snapshot that is restored: latest, or the beginning of its id"
    )
    restore_to: Moment = _p(
        "",
        "27",
        "the moment that is restored: a time, UTC, as YYYY-MM-DD HH:MM:SS, or a GTID; empty: that of the snapshot",
    )
    restore_cluster: NameOrNone = _p(
        "", "27", "the cluster whose snapshot may be restored here; empty: this one's own alone"
    )
    standby_of: LocalPath = _p("", "07 28", "parameters file of the cluster that this one follows; empty: none")
    takeover: Literal["no", "switch", "lost"] = _p("no", "28", "whether 28 takes its place: no, switch, or lost")
    rotate: list[Rotates] = _p(
        [],
        "29",
        "what to replace: engine, consul, replication, database, swarm (authorities), gossip-key, consul-tokens, password, watch-password, join-tokens, unlock-key; or all",
    )
    galera_network: Literal["lan", "fast", "wan"] = _p(
        "lan",
        "07",
        "how soon a silent member is suspected: lan (2 s), fast (1 s, for machines that are never short of CPU), both 5 s while members come or go, and 10 s with more than seven members; or wan (half a minute, for links between sites)",
    )
    with_endpoint: bool = _p(
        False,
        "20",
        "whether swarmbook run ends with 20: the names MARIADB_CLUSTER_NAME-writer and -reader for applications",
    )
    endpoint_writer_port: int = _p(
        0, "01 03 05 09 20 30", "port on every node that leads to the writer; 0: on the overlay alone", ge=0, le=65535
    )
    endpoint_reader_port: int = _p(
        0,
        "01 03 05 09 20 30",
        "port on every node that leads to the members that are Synced; 0: on the overlay alone",
        ge=0,
        le=65535,
    )
    use_seconds: int = _p(10, "09", "how long the application works, seconds", ge=1, le=3600)
    use_connections: int = _p(4, "09 30", "connections by which the application writes; half as many read", ge=1, le=64)
    use_keep: bool = _p(False, "09", "whether the application's tables stay when it has ended")
    drill_fault: Literal[
        "switch", "stop", "kill", "kill-reader", "pause", "two", "all", "machine", "power", "cut",
        "deaf", "mute", "flap", "leader", "consul", "disk", "joiner", "donor", "schema", "big",
    ] = _p("kill", "30", "what is done to the lab while the application works")  # fmt: skip
    drill_seed: int = _p(1, "30", "draws when a drill's fault begins, whom it hits and how long it lasts", ge=0)
    with_watch: bool = _p(
        False,
        "24 29",
        "whether swarmbook run ends with 24: Prometheus on the swarm, and alerts for what should wake a person",
    )
    watch_interval: int = _p(10, "24", "seconds from one look of Prometheus's to the next", ge=1, le=60)
    watch_alert_for: int = _p(30, "24", "seconds that something has to be wrong before an alert fires", ge=0, le=3600)
    on_finish: HookTarget = _p(
        "",
        "",
        "who hears how a run of the swarmbook command ended: a program, which reads a JSON summary, a webhook's URL, or env:NAME or file:PATH of one; empty: no one",
    )
    on_failure: HookTarget = _p("", "", "the same, only when a run did not end well")
    undo_storage: bool = _p(
        False, "90", "also remove the second disk's layout: mount, fstab line, volumes, partition table"
    )
    undo_packages: Literal["always", "never", "auto"] = _p(
        "auto",
        "90",
        "also remove the packages that the book has installed, but for those that something needs: always, never, or auto (on your own hosts)",
    )
    confirm: Word = _p(
        "",
        "01 02 21 23 25 27 28 90 91",
        "confirms what costs money or destroys data: ORDER (01), DESTROY (02, 90), CANCEL (21, 23, 91), LOSE and the number of transactions (25), RESTORE (27), PROMOTE (28)",
    )

    def managers(self) -> list[str]:
        """Return the nodes that are swarm managers: the first ``swarm_managers`` of ``nodes``."""
        return self.nodes[: self.swarm_managers]

    def members(self) -> list[str]:
        """Return the nodes that carry a Galera member, first the one that bootstraps."""
        return list(self.galera_nodes or self.nodes)

    def names(self) -> list[str]:
        """Return what the cluster's parts are called: such a name is shown everywhere, and no secret may be one."""
        fields = type(self).model_fields
        return [
            *self.nodes,
            *self.without,
            *(getattr(self, key) for key in ("cluster", "overlay_network", "mariadb_cluster_name", "mariadb_database", "mariadb_user", "mariadb_admin")),
            *fields,
        ]  # fmt: skip

    def walled(self) -> bool:
        """Tell whether the nodes get a wall."""
        return self.firewall == "always" or (self.firewall == "auto" and self.provider != "lab")

    def packages_go(self) -> bool:
        """Tell whether 90 removes the packages that the book has installed."""
        return self.undo_packages == "always" or (self.undo_packages == "auto" and self.provider == "generic")

    def view(self, phase: str) -> Params:
        """Return these parameters as one phase may see them: all of them for no phase.

        What the type says is :class:`Params`; what it is refuses, at once, a parameter that the phase's notebook does
        not declare.
        """
        return cast("Params", Guarded(self, phase, phase_params(phase) if phase else Params.model_fields))


def phase_params(phase: str) -> list[str]:
    """List the names of the parameters that a phase's notebook declares, in order."""
    return [name for name, field in Params.model_fields.items() if phase in field.json_schema_extra["phases"]]  # type: ignore[index,operator]
