"""SQL to a member, or to the endpoint in front of it: by the book's own certificate, through SSH."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pymysql

from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.access.pki import Purpose, operator
from swarmbook.access.probe import Facts, Probe, address, line
from swarmbook.access.tls import NamedContext
from swarmbook.base.border import border, foreign, words
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, WorldError
from swarmbook.book.book import Book
from swarmbook.phases.support.members import endpoint_name, endpoint_service, member_name, of_service, service_name

__all__ = ["VERIFIER", "VERIFY_SCHEMA", "Place", "connect", "place_of"]

#: The book's own login, by which it verifies; it may write in a schema of its own, and nowhere else.
VERIFIER, VERIFY_SCHEMA = "swarmbook", "swarmbook_verify"


@contextlib.contextmanager
def connect(
    book: Book, name: str, *, tls: bool = True, database: str | None = None, endpoint: str = ""
) -> Iterator[Any]:
    """Connect to the member on a node, by the book's own certificate, through SSH: it needs no published port.

    Args:
        book: The open book.
        name: The node.
        tls: Off to see it refused.
        database: Default database.
        endpoint: A role: not the node's member, but the endpoint's container there is connected to, under that role's name.

    Raises:
        OutOfOrder: No member was ever started there.
        WorldError: It does not run, or does not let us in.
    """
    host = book.fleet[name]
    service = endpoint_service(book.params, endpoint) if endpoint else service_name(book.params, name)
    known_as = endpoint_name(book.params, endpoint) if endpoint else member_name(book.params, name)
    address = _address(
        host, service, "20" if endpoint else "07"
    )  # which says so where 07 has not run: a look makes no authority
    authority = book.authority(Purpose.DATABASE)
    context = NamedContext.of(known_as, authority.bundle, operator(authority)) if tls else None
    with host.forward(address, 3306) as port:
        try:
            connection = pymysql.connect(
                host="127.0.0.1",
                port=port,
                user=VERIFIER,
                database=database,
                ssl=context,
                ssl_disabled=not tls,
                connect_timeout=book.params.wait_timeout,
                read_timeout=book.params.wait_timeout,
                write_timeout=book.params.wait_timeout,
            )
        except Exception as error:
            if not foreign(error):
                raise
            raise WorldError(
                f"{known_as} does not let us in",
                where=name,
                wanted=f"{VERIFIER}, by a certificate",
                seen=words(error),
                next="swarmbook run PARAMS --from 07",
            ) from None
        book.transcript.record(
            name,  # typed here, recorded with its node, so that the order is the same every time
            # Not the port of this forward, which is gone by the time the record is read.
            f"mariadb --protocol=tcp --host=localhost --port=3306 --user={VERIFIER} --ssl-ca={authority.file} --ssl-verify-server-cert "
            "--ssl-cert=OPERATOR.pem --ssl-key=OPERATOR.key   # from here, through SSH; the certificate is made for this",
            0,
            0.0,
        )
        with (
            border(f"{known_as} ended a statement", where=name, next=f"swarmbook logs PARAMS {name}"),
            contextlib.closing(connection),
        ):
            yield connection


@dataclass(frozen=True)
class Place:
    """Where a member's container is: its address on its node's own bridge, or how the last one ended."""

    address: str = ""
    ended: str = ""


def place_of(service: str) -> Probe[Place]:
    """Ask where the container of a service runs; overlay addresses are not reached from the node itself."""
    script = sh(
        """c=$(@!{containers} -q | head -n 1)
[ -n "$c" ] || { @!{containers} -a --format '{{.Status}}' | head -n 1 | as ended; exit; }
docker network inspect --format "{{(index .Containers \\"$c\\").IPv4Address}}" docker_gwbridge | as address""",
        containers=of_service(service),
    )

    def read(facts: Facts) -> Place:
        found = "".join(facts.get("address", ()))
        there = bool(found) and found != "<no value>"
        return Place(address(found) if there else "", line("".join(facts.get("ended", ()))))

    return Probe(script, read)


def _address(host: Host, service: str, phase: str) -> str:
    place = host.ask(place_of(service))
    if place.ended:
        raise WorldError(
            f"the {'member' if phase == '07' else 'endpoint'} on {host.name} does not run",
            where=host.name,
            wanted=f"a running container of the service {service}",
            seen=place.ended,
            next=f"swarmbook logs PARAMS {host.name}; then: "
            + ("swarmbook run PARAMS --from 07" if phase == "07" else "swarmbook run PARAMS --only 20"),
            code=Code.MEMBER_DOWN,
        )
    if not place.address:
        raise OutOfOrder(
            f"run {phase} first: no container of {service} on {host.name}",
            where=host.name,
            wanted=f"a running container of the service {service}",
            next="swarmbook run PARAMS --from 07" if phase == "07" else "swarmbook run PARAMS --only 20",
        )
    return place.address
