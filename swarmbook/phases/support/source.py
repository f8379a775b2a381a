"""The cluster that a standby follows: another one of this folder, with its parameters, its authority, and its members' addresses."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from swarmbook.access.cluster import Cluster
from swarmbook.access.commands import sh
from swarmbook.access.pki import Purpose, Use, reason_to_renew
from swarmbook.access.probe import Probe, line
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.base.files import write_atomic, write_private
from swarmbook.base.words import typed
from swarmbook.book.book import Book
from swarmbook.params import Params, load_params
from swarmbook.phases.support.members import of_service

__all__ = ["SECRETS", "Source", "followed_by", "gtid_number", "login_at", "source_of", "source_secrets"]

#: What a standby's members are given, by the names of their files.
SECRETS = ("source_ca.pem", "source_cert.pem", "source_key.pem")


@dataclass(frozen=True)
class Source:
    """The cluster that is followed.

    Args:
        params: Its parameters.
        cluster: Its folder.
        file: The parameters' file.
    """

    params: Params
    cluster: Cluster
    file: Path

    @property
    def owner(self) -> str:
        """The cluster, and its database: as backups are marked."""
        return f"{self.params.cluster}/{self.params.mariadb_cluster_name}"

    @property
    def domain(self) -> int:
        """The domain of its transactions' GTIDs; its members' ``server_id`` as well."""
        return gtid_number(self.params)

    def hosts(self) -> list[str]:
        """List where its members are reached from another cluster, each ADDRESS:PORT."""
        nodes = {node.name: node for node in self.cluster.nodes}
        return [
            f"{nodes[name].private_address}:{self.params.mariadb_port}"
            for name in self.params.members()
            if name in nodes
        ]


def gtid_number(params: Params) -> int:
    """Return the number by which a cluster's transactions are known: domain and server of their GTIDs.

    Alike on all members, so that they give a transaction the same GTID. Two clusters differ, so that one can follow the other.

    Args:
        params: The parameters.
    """
    return 10_000 + zlib.crc32(f"{params.cluster}/{params.mariadb_cluster_name}".encode()) % 90_000


def login_at(params: Params) -> tuple[str, str]:
    """Return the login of a standby at its source, and the name in the certificate that lets it in.

    Args:
        params: The standby's parameters.
    """
    return f"standby_{gtid_number(params)}", f"standby-{params.cluster}-{params.mariadb_cluster_name}"[:64]


def followed_by(service: str) -> Probe[str]:
    """Ask a member which cluster is followed, so that no member takes writes; nothing where none is.

    Args:
        service: The member's.
    """
    script = sh(
        """c=$(@!{running} -q | head -n 1)
[ -n "$c" ] || exit 0
docker exec "$c" mariadb --batch --skip-column-names -e 'SELECT source FROM swarmbook.following WHERE id = 1 AND wanted = 1' 2>/dev/null | as source""",
        running=of_service(service),
    )
    return Probe(script, lambda facts: line("".join(facts.get("source", ()))))


def source_of(book: Book) -> Source | None:
    """Return the cluster that this one follows by its parameters; None where it is no standby.

    Args:
        book: The open book.

    Raises:
        UsageError: The file cannot be read, or names this cluster, or one that cannot be followed.
        WorldError: That cluster was not built from this folder.
    """
    if not book.params.standby_of:
        return None
    file = book.cluster.root / Path(book.params.standby_of).expanduser()
    params = load_params(file)
    source = Source(params, Cluster(params.cluster, book.cluster.root), file)
    wrong = ""
    if source.params.cluster == book.cluster.name:
        wrong = f"it is the cluster {book.cluster.name} itself"
    elif not params.mariadb_binlog_days:
        wrong = "its members write no binary log: mariadb_binlog_days: 0"
    elif not params.mariadb_port:
        wrong = "its members are not reached from another cluster: mariadb_port: 0"
    elif not params.with_endpoint:
        wrong = "it has no endpoint, so it could not be fenced: with_endpoint: false"
    if wrong:
        raise UsageError(
            "this cluster cannot be followed",
            where=str(file),
            wanted="another cluster, with mariadb_binlog_days and mariadb_port above 0, and with_endpoint: true",
            seen=wrong,
            next=f"correct it; then: swarmbook run {typed(file)}",
            code=Code.STANDBY_OF_NOTHING,
        )
    if not source.cluster.exists():
        raise WorldError(
            f"the cluster {params.cluster} was not built from this folder, so its standby has no certificate for it",
            where=str(source.cluster.folder),
            wanted="the folder of a cluster that was built",
            seen="none",
            next=f"swarmbook run {typed(file)}; or bring its folder here",
            code=Code.STANDBY_OF_NOTHING,
        )
    return source


def source_secrets(book: Book) -> dict[str, bytes]:
    """Return what the members of a standby show their source, and know it by; nothing where this cluster is no standby.

    Args:
        book: The open book.

    Raises:
        UsageError: See :func:`source_of`.
        WorldError: See :func:`source_of`.
    """
    source = source_of(book)
    if source is None:
        return {}
    authority = Book(book.phase, source.params, cluster=source.cluster).authority(Purpose.DATABASE)
    _, name = login_at(book.params)
    # In this cluster's folder: what is only planned leaves the other one's as it is.
    folder = book.cluster.pki_folder / "source"
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    life, renew = (timedelta(days=days) for days in (book.params.certificate_days, book.params.certificate_renew_days))
    kept = certificate.read_bytes() if certificate.exists() and key.exists() else b""
    if reason_to_renew(kept, authority.certificate, [name], Use.CLIENT, renew) is not None:
        leaf = authority.sign(name, [name], Use.CLIENT, life)
        write_private(key, leaf.key)
        write_atomic(certificate, leaf.certificate)
    return dict(zip(SECRETS, (authority.bundle, certificate.read_bytes(), key.read_bytes()), strict=True))
