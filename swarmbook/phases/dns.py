"""Phase 05: names as containers see them. Each node's engine sends them to the Consul agent of that very node."""

from __future__ import annotations

from swarmbook.access.commands import sh
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.phases.support.preconditions import require_consul, require_swarm
from swarmbook.phases.support.probes import Probes

__all__ = ["from_containers"]

_ASK = sh(
    "getent ahostsv4 consul.service.consul | cut -d' ' -f1 | sort -u | tr '\\n' ' '; echo; "
    "sed -n 's/^nameserver //p' /etc/resolv.conf"
)


@look()
def from_containers(book: Book) -> CheckTable:
    """Ask for Consul's servers from inside a container on every node."""
    require_swarm(book)
    require_consul(book)
    servers = sorted(node.private_address for node in book.nodes if node.name in book.params.managers())
    with Probes(book) as inside:
        seen = book.fleet.each(lambda host: inside.ask(host, _ASK))
    rows = []
    for node in book.nodes:
        answer, *nameservers = seen[node.name] or [""]
        found = " ".join(sorted(answer.split())) or "not found"
        rows.append(equal(node.name, "consul.service.consul", " ".join(servers), found))
        first, own = nameservers[:1], node.private_address
        rows.append(Check(node.name, "a container's first name server", own, " ".join(first), first == [own]))
    return CheckTable(rows)
