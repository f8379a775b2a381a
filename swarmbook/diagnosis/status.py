"""How a cluster is right now, and how to reach it; reads only, and puts up with nodes that do not answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swarmbook.access.cluster import Cluster, Endpoint, Node
from swarmbook.access.hosts import Host
from swarmbook.base.errors import SwarmbookError
from swarmbook.book.book import Book
from swarmbook.model.checks import Table
from swarmbook.phases.galera.members import probe_member, read_member

__all__ = ["Row", "by_ssh", "endpoints", "how_to_reach", "status"]


@dataclass(frozen=True)
class Row:
    """One node."""

    node: str
    ssh: str
    engine: str = ""
    swarm: str = ""
    consul: str = ""
    galera: str = ""

    @property
    def reachable(self) -> bool:
        return self.ssh == "ok"

    @property
    def fine(self) -> bool:
        return (
            self.reachable
            and self.galera in ("Synced, Primary", "no member wanted")
            and self.consul.startswith("running")
        )


_PROBE = """echo "engine $(systemctl is-active docker.service)"
echo "swarm $(docker info --format '{{.Swarm.LocalNodeState}} {{if .Swarm.ControlAvailable}}manager{{else}}worker{{end}}' 2>/dev/null)"
echo "consul $(docker ps --filter label=com.docker.stack.namespace=consul --format '{{.State}} {{.Label "com.docker.swarm.service.name"}}' 2>/dev/null | head -n 1)"
"""


def status(book: Book) -> list[Row]:
    """Ask every node of the inventory."""
    members = book.params.members()

    def one(host: Host) -> Row:
        try:
            lines = host.run(_PROBE, quiet=True).stdout.splitlines()
            facts = {head: rest for head, _, rest in (line.partition(" ") for line in lines)}
            galera = "no member wanted"
            if host.name in members:
                member = read_member(
                    host.run(probe_member(book.params, host.name), quiet=True).stdout, image=True, spec=""
                )
                galera = (
                    f"{member.status.get('state_comment')}, {member.status.get('cluster_status')}"
                    if member.status
                    else ("starting" if member.running else "no member")
                )
            return Row(
                host.name,
                "ok",
                facts.get("engine", ""),
                facts.get("swarm", "") or "none",
                facts.get("consul", "") or "none",
                galera,
            )
        except SwarmbookError as error:
            return Row(host.name, f"{type(error).__name__}: {(error.seen or error.what).splitlines()[0]}")

    return list(book.fleet.each(one).values())


def status_table(rows: list[Row]) -> Table:
    """The rows as a table."""
    return Table(
        ["node", "ssh", "engine", "swarm", "consul", "galera"],
        [[r.node, r.ssh, r.engine, r.swarm, r.consul, r.galera] for r in rows],
    )


def endpoints(book: Book) -> Table:
    """Addresses of every node of the inventory, as they are reached from here."""
    params = book.params
    columns = ["node", "private address", "ssh", "docker api", "consul https"]
    ports = [params.docker_api_port, params.consul_https_port]
    if params.mariadb_port:
        columns.append("mariadb")
        ports.append(params.mariadb_port)
    rows = [
        [
            node.name,
            node.private_address,
            str(node.ssh),
            *("through SSH" if node.tunnelled(port) else str(node.reach(port)) for port in ports),
        ]
        for node in book.cluster.nodes
    ]
    return Table(columns, rows)


def by_ssh(cluster: Cluster, node: Node, ports: Iterable[int]) -> str:
    """The command that brings ports of a node to this computer's loopback."""
    forwards = " ".join(f"-L {port}:127.0.0.1:{port}" for port in ports)
    return f"ssh -F {cluster.ssh_config} -N {forwards} {node.name}"


def how_to_reach(book: Book) -> str:
    """The commands by which a person reaches what was built."""
    params, folder = book.params, book.cluster.folder
    node = book.cluster.nodes[0]
    lines = [f'  docker    eval "$(swarmbook env {node.name})" && docker node ls']
    through = [
        port
        for port in (params.docker_api_port, params.consul_https_port, params.mariadb_port)
        if port and node.tunnelled(port)
    ]
    if through:
        lines.insert(
            0,
            f"  first     {by_ssh(book.cluster, node, through)}   # in a terminal of its own, while you use what follows",
        )

    def reach(port: int) -> Endpoint:
        return Endpoint("127.0.0.1", port) if port in through else node.reach(port)

    consul = reach(params.consul_https_port)
    token = (
        f"{folder}/secrets/consul-management-token"
        if params.consul_management_token == "generate"  # noqa: S105 - the reference, not a token
        else "YOUR-TOKEN-FILE"
    )
    lines.append(
        f'  consul    curl --cacert {folder}/pki/ca.pem -H "X-Consul-Token: $(cat {token})" https://{consul}/v1/agent/members'
    )
    if params.mariadb_port:
        end = reach(params.mariadb_port)
        kept = f"{folder}/secrets/{params.mariadb_cluster_name}-root-password"
        lines.append(
            f"  mariadb   mariadb --host={end.host} --port={end.port} --user=root --ssl-ca={folder}/pki/ca.pem --ssl-verify-server-cert -p"
        )
        if params.mariadb_root_password == "generate":  # noqa: S105 - the reference, not a password
            lines.append(f"            its password: cat {kept}")
    lines.append(f"  a node    swarmbook ssh {node.name}")
    return "\n".join(lines)
