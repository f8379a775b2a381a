"""The current state of a cluster and how to reach it; reads only, and tolerates nodes that do not answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from swarmbook.access.cluster import Cluster
from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.access.node import Endpoint, Node
from swarmbook.access.probe import Facts, Probe
from swarmbook.base.errors import SwarmbookError
from swarmbook.base.words import typed
from swarmbook.book.book import Book
from swarmbook.diagnosis.endpoint import deployed, endpoint_lines, role_of
from swarmbook.model.checks import Table
from swarmbook.model.health import Agent, Component, ContainerState, EngineState, GaleraState, Role, SwarmState
from swarmbook.phases.endpoint.agents import agents_of
from swarmbook.phases.endpoint.ways import ways
from swarmbook.phases.galera.members import Member, found_on

__all__ = ["Row", "by_ssh", "endpoints", "how_to_reach", "read_row", "status"]


@dataclass(frozen=True)
class Row:
    """One node.

    Args:
        node: Its name.
        trouble: Why it does not answer; empty when it does.
        engine: Its Docker Engine.
        swarm: Its part in the swarm.
        role: What it is to the swarm, as long as it is in one.
        consul: Its agent's container.
        agent: What that is.
        galera: Its member.
        component: The part of the Galera cluster that it is in, as far as it says so.
        part: What its member is in the election of a writer: ``writer``, ``fenced`` or ``open``; without one ``fenced``
            while it takes no writes yet, and empty from then on.
    """

    node: str
    trouble: str = ""
    engine: EngineState = EngineState.UNKNOWN
    swarm: SwarmState = SwarmState.NONE
    role: Role | None = None
    consul: ContainerState = ContainerState.NONE
    agent: Agent | None = None
    galera: GaleraState = GaleraState.ABSENT
    component: Component | None = None
    part: str = ""

    @property
    def reachable(self) -> bool:
        return not self.trouble

    @property
    def serves(self) -> bool:
        """Whether its member serves, or none is wanted there."""
        synced = (self.galera, self.component) == (GaleraState.SYNCED, Component.PRIMARY)
        return synced or self.galera is GaleraState.NOT_WANTED

    @property
    def fine(self) -> bool:
        return self.reachable and self.serves and self.consul is ContainerState.RUNNING

    @property
    def member(self) -> str:
        """Its member, in words."""
        return ", ".join(filter(None, [_words(self.galera, self.component, ", "), self.part]))

    def cells(self) -> list[str]:
        """Return the row in words, for a table; of a node that does not answer, only why."""
        if self.trouble:
            return [self.node, self.trouble, "", "", "", ""]
        return [
            self.node,
            "ok",
            str(self.engine),
            _words(self.swarm, self.role),
            _words(self.consul, self.agent and f"consul_{self.agent}"),
            self.member,
        ]


def _words(state: object, more: object, between: str = " ") -> str:
    return str(state) if more is None else f"{state}{between}{more}"


def read_row(name: str, facts: Facts) -> Row:
    """Read a node's row from what it says about itself, without its member.

    Args:
        name: Its name.
        facts: Of :func:`row_of`.
    """

    def words(fact: str) -> tuple[str, str]:
        first, _, rest = "".join(facts.get(fact, ())).strip().partition(" ")
        return first, rest

    (engine, _), (swarm, role), (consul, service) = words("engine"), words("swarm"), words("consul")
    state = SwarmState.read(swarm or "none")
    return Row(
        name,
        engine=EngineState.read(engine),
        swarm=state,
        role=Role(role) if role and state is SwarmState.ACTIVE else None,
        consul=ContainerState.read(consul or "none"),
        agent=next((agent for agent in Agent if service == f"consul_{agent}"), None),
    )


_ASK = sh(
    "systemctl is-active docker.service | as engine\n"
    "docker info --format '{{.Swarm.LocalNodeState}} {{if .Swarm.ControlAvailable}}manager{{else}}worker{{end}}' "
    "2>/dev/null | as swarm\n"
    "docker ps --filter label=com.docker.stack.namespace=consul "
    """--format '{{.State}} {{.Label "com.docker.swarm.service.name"}}' 2>/dev/null | head -n 1 | as consul"""
)


def row_of(name: str) -> Probe[Row]:
    """Ask how a node is, without its member.

    Args:
        name: Its name.
    """
    return Probe(_ASK, lambda facts: read_row(name, facts))


def _with_member(row: Row, member: Member) -> Row:
    if member.wsrep is None:
        return replace(row, galera=GaleraState.STARTING if member.running else GaleraState.ABSENT)
    return replace(
        row,
        galera=GaleraState.read(member.wsrep.state),
        component=Component.read(member.wsrep.component),
    )


def status(book: Book) -> list[Row]:
    """Ask every node of the inventory."""
    members = book.params.members()

    def one(host: Host) -> Row:
        try:
            row = host.ask(row_of(host.name), quiet=True)
            if host.name not in members:
                return replace(row, galera=GaleraState.NOT_WANTED)
            row = _with_member(row, host.ask(found_on(book.params, host.name), quiet=True))
            return replace(row, part=role_of(host.ask(agents_of(book.params, host.name), quiet=True)))
        except SwarmbookError as error:
            return Row(host.name, f"{type(error).__name__}: {(error.seen or error.what).splitlines()[0]}")

    return list(book.fleet.each(one).values())


def status_table(rows: list[Row]) -> Table:
    """Render the rows as a table."""
    return Table(["node", "ssh", "engine", "swarm", "consul", "galera"], [row.cells() for row in rows])


def endpoints(book: Book) -> Table:
    """List the addresses of every node of the inventory, as seen from here."""
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
    """Return the command that brings ports of a node to this computer's loopback."""
    forwards = " ".join(f"-L {port}:127.0.0.1:{port}" for port in ports)
    return f"ssh -F {typed(cluster.ssh_config)} -N {forwards} {node.name}"


def how_to_reach(book: Book) -> str:
    """Print the commands that reach what was built."""
    params, folder = book.params, book.cluster.folder
    node = book.cluster.nodes[0]
    lines = [f'  docker    eval "$(swarmbook env {node.name})" && docker node ls']
    through = [port for port in (params.consul_https_port, params.mariadb_port) if port and node.tunnelled(port)]
    if through:
        lines.insert(
            0,
            f"  first     {by_ssh(book.cluster, node, through)}   # in a terminal of its own, while you use the commands below",
        )

    def reach(port: int) -> Endpoint:
        return Endpoint("127.0.0.1", port) if port in through else node.reach(port)

    consul = reach(params.consul_https_port)
    token = (
        typed(folder / "secrets" / "consul-management-token")
        if params.consul_management_token == "generate"  # noqa: S105 - the reference, not a token
        else "YOUR-TOKEN-FILE"
    )
    # curl reads the header from its input: on its command line, every user of this computer could read the token.
    lines.append(
        f"  consul    sed 's/^/X-Consul-Token: /' {token} | curl -H @- --cacert {typed(folder / 'pki' / 'consul' / 'ca.pem')} "
        f"--resolve {node.name}:{consul.port}:{consul.host} https://{node.name}:{consul.port}/v1/agent/members"
    )
    if params.mariadb_port:
        end = reach(params.mariadb_port)
        client = (
            f"mariadb --protocol=tcp --host={'localhost' if end.host == '127.0.0.1' else end.host} --port={end.port} "
            f"--ssl-ca={typed(folder / 'pki' / 'database' / 'ca.pem')} --ssl-verify-server-cert"
        )
        if params.mariadb_user:
            lines.append(f"  mariadb   {client} --user={params.mariadb_user} -p")
            if params.mariadb_password == "generate":  # noqa: S105 - the reference, not a password
                lines.append(
                    f"            its password: cat {typed(folder / 'secrets' / f'{params.mariadb_cluster_name}-password')}"
                )
        if params.mariadb_admin:
            leaf = folder / "pki" / "database" / f"{params.mariadb_cluster_name}.{params.mariadb_admin}"
            lines.append(
                f"  admin     {client} --user={params.mariadb_admin} --ssl-cert={typed(f'{leaf}.pem')} --ssl-key={typed(f'{leaf}.key')}"
            )
    if deployed(book.cluster, params):
        with contextlib.suppress(SwarmbookError):  # taken away since, or not to be asked now
            lines += endpoint_lines(*ways(book))
    lines.append(f"  a node    swarmbook ssh {node.name}")
    return "\n".join(lines)
