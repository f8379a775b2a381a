"""The ways to the endpoint: where the writer and the readers are, and by what an application logs in there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from swarmbook.access.hosts import Host
from swarmbook.access.node import Endpoint
from swarmbook.base.errors import OutOfOrder, SwarmbookError, WorldError
from swarmbook.book.book import Book
from swarmbook.phases.endpoint.agents import Says, agents_of, writer_among
from swarmbook.phases.endpoint.step import published
from swarmbook.phases.support.members import ROLES, endpoint_name, member_name

__all__ = ["Way", "ends", "says_of", "ways", "writer_now"]


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


def writer_now(book: Book) -> str:
    """Return the member that is the writer now; nothing where there is none.

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
    node = writer_among(book.params, says)
    return member_name(book.params, node) if node else ""


def ways(book: Book) -> tuple[str, Mapping[str, Way]]:
    """Return the member that is the writer now, and the way to each role.

    Args:
        book: The open book.

    Raises:
        WorldError: No member answers.
        OutOfOrder: There is no endpoint.
    """
    return writer_now(book), {role: _way(book, role) for role in ROLES}


def ends(book: Book, role: str) -> Mapping[str, Endpoint]:
    """Return where a role is reached from here without a tunnel, by node; nothing where it is not published.

    Args:
        book: The open book.
        role: Writer or reader.
    """
    number = published(book.params, role)
    found = {node.name: node.reach(number) for node in book.cluster.nodes if number and not node.tunnelled(number)}
    # The loopback is named by no certificate, and localhost is.
    return {name: Endpoint("localhost", end.port) if end.host == "127.0.0.1" else end for name, end in found.items()}


def _way(book: Book, role: str) -> Way:
    params, folder = book.params, book.cluster.folder
    there = list(ends(book, role).values())
    first = there[0] if there else Endpoint(endpoint_name(params, role), 3306)
    kept = folder / "secrets" / f"{params.mariadb_cluster_name}-password"
    ours = bool(params.mariadb_user) and params.mariadb_password == "generate"  # noqa: S105 - the reference, not a password
    return Way(
        first.host,
        first.port,
        "" if there else params.overlay_network,
        tuple(str(end) for end in there[1:]),
        params.mariadb_user,
        params.mariadb_database,
        str(folder / "pki" / "database" / "ca.pem"),
        str(kept) if ours else "",
    )
