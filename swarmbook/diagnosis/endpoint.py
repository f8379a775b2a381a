"""The endpoint as an application needs it: where the writer and the readers are, and by what one logs in there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from swarmbook.access.cluster import Cluster
from swarmbook.access.hosts import Host
from swarmbook.base.errors import OutOfOrder, SwarmbookError, WorldError
from swarmbook.base.words import typed
from swarmbook.book.book import Book
from swarmbook.params import Params
from swarmbook.phases.endpoint.agents import Says, agents_of, writer_among
from swarmbook.phases.endpoint.step import published
from swarmbook.phases.support.members import ROLES, endpoint_name, endpoint_stack, member_name

__all__ = ["Way", "deployed", "endpoint_lines", "role_of", "says_of", "ways"]


@dataclass(frozen=True)
class Way:
    """How an application reaches a role.

    Args:
        host: Its name on the overlay; or, where it is published, an address that this computer reaches.
        port: There.
        network: The overlay on which the host's name is known; nothing where it is published.
        others: More addresses, HOST:PORT, that lead to the same.
        user: Who logs in; nothing where there is no mariadb_user.
        database: Where.
        ca: File of the authorities that the servers' certificates are verified against.
        password_file: File with the user's password; nothing where it is kept elsewhere.
    """

    host: str
    port: int
    network: str
    others: tuple[str, ...]
    user: str
    database: str
    ca: str
    password_file: str

    def to_json(self) -> dict[str, Any]:
        """Return it as data for programs."""
        return {**asdict(self), "others": list(self.others)}


def deployed(cluster: Cluster, params: Params) -> bool:
    """Tell whether 20 was ever run for a cluster, from the cluster's folder alone.

    Args:
        cluster: The cluster.
        params: The parameters.
    """
    return (cluster.folder / "stacks" / f"{endpoint_stack(params)}.yaml").exists()


def says_of(book: Book) -> dict[str, Says | SwarmbookError | None]:
    """Ask every member's agent, and tolerate nodes that do not answer.

    Args:
        book: The open book.
    """

    def one(host: Host) -> Says | SwarmbookError | None:
        try:
            return host.ask(agents_of(book.params, host.name), quiet=True)
        except SwarmbookError as error:
            return error

    return dict(book.fleet.each(one, book.params.members()))


def role_of(says: Says | None) -> str:
    """Return what a member is in the election, in a word; nothing where there is none."""
    if says is None or not says.term:
        return ""
    return "writer" if says.writer else "fenced" if says.read_only else "open"


def ways(book: Book) -> tuple[str, Mapping[str, Way]]:
    """Return the member that is the writer now, and the way to each role.

    Args:
        book: The open book.

    Raises:
        WorldError: No member answers.
        OutOfOrder: There is no endpoint.
    """
    found = says_of(book)
    says = {node: one for node, one in found.items() if isinstance(one, Says)}
    if not says:
        raise WorldError(
            "no member answers, so nothing is known of the endpoint",
            where=", ".join(found),
            wanted="a member that runs",
            seen="; ".join(f"{node}: {getattr(one, 'what', 'no member')}" for node, one in found.items()),
            next="swarmbook status PARAMS",
        )
    if not any(one.term for one in says.values()):
        raise OutOfOrder(
            "run 20 first: there is no endpoint",
            where=f"cluster {book.cluster.name}",
            wanted="an election among the members, and HAProxy in front of them",
            next="swarmbook run PARAMS --only 20",
        )
    params = book.params
    node = writer_among(params, says)
    return member_name(params, node) if node else "", {role: _way(book, params, role) for role in ROLES}


def _way(book: Book, params: Params, role: str) -> Way:
    folder = book.cluster.folder
    host, port, network, others = endpoint_name(params, role), 3306, params.overlay_network, []
    if number := published(params, role):
        ends = [(node, node.reach(number)) for node in book.cluster.nodes if not node.tunnelled(number)]
        # The loopback is named by no certificate, and localhost is.
        there = [("localhost" if end.host == "127.0.0.1" else end.host, end.port) for _, end in ends]
        if there:
            (host, port), network = there[0], ""
            others = [f"{name}:{port}" for name, port in there[1:]]
    kept = folder / "secrets" / f"{params.mariadb_cluster_name}-password"
    ours = bool(params.mariadb_user) and params.mariadb_password == "generate"  # noqa: S105 - the reference, not a password
    return Way(
        host,
        port,
        network,
        tuple(others),
        params.mariadb_user,
        params.mariadb_database,
        str(folder / "pki" / "database" / "ca.pem"),
        str(kept) if ours else "",
    )


def endpoint_lines(writer: str, found: Mapping[str, Way]) -> list[str]:
    """Say for a person how to reach the endpoint.

    Args:
        writer: The member that is the writer now.
        found: What :func:`ways` gave.
    """
    lines = []
    for role, way in found.items():
        now = f", {writer or 'none'} now" if role == "writer" else ""
        where = f"on the overlay {way.network}" if way.network else "from here"
        more = f"; also {' '.join(way.others)}" if way.others else ""
        lines.append(f"  {role:<9} {way.host}:{way.port} {where}{more}{now}")
    way = next(iter(found.values()))
    user = f" --user={way.user} -p {way.database}" if way.user else ""
    protocol = "--protocol=tcp " if way.host == "localhost" else ""
    lines.append(
        f"            mariadb {protocol}--host={way.host} --port={way.port} --ssl-ca={typed(way.ca)} --ssl-verify-server-cert{user}"
    )
    if way.password_file:
        lines.append(f"            its password: cat {typed(way.password_file)}")
    return lines
