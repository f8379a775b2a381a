"""Phase 05: names as containers see them. Each node's engine sends them to the Consul agent of that very node."""

from __future__ import annotations

from collections.abc import Sequence

from swarmbook.access.commands import sh
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.phases.support.preconditions import require_consul, require_swarm
from swarmbook.phases.support.probes import Probes

__all__ = ["from_containers", "servers_found"]

_ASK = sh(
    "getent ahostsv4 consul.service.consul | cut -d' ' -f1 | sort -u | tr '\\n' ' '; echo; "
    "sed -n 's/^nameserver //p' /etc/resolv.conf"
)


#: Consul answers over UDP with three addresses, which ones it draws by lot (``udp_answer_limit``); a resolver asks over UDP.
_AT_ONCE = 3


def servers_found(node: str, servers: Sequence[str], answer: Sequence[str]) -> Check:
    """Check that Consul's name leads to its servers.

    Args:
        node: Where it was asked for.
        servers: Addresses of all servers.
        answer: Those that the resolver gave.
    """
    found = " ".join(sorted(answer)) or "not found"
    if len(servers) <= _AT_ONCE:
        return equal(node, "consul.service.consul", " ".join(servers), found)
    fine = len(set(answer)) == _AT_ONCE and set(answer) <= set(servers)
    return Check(node, "consul.service.consul", f"{_AT_ONCE} of {' '.join(servers)}", found, fine)


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
        rows.append(servers_found(node.name, servers, answer.split()))
        first, own = nameservers[:1], node.private_address
        rows.append(Check(node.name, "a container's first name server", own, " ".join(first), first == [own]))
    return CheckTable(rows)
