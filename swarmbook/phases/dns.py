"""Phase 05: names as containers see them. Each node's engine sends them to the Consul agent of that very node."""

from __future__ import annotations

from swarmbook.book.book import Book, StepResult, look
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.phases.support.preconditions import require_consul, require_swarm
from swarmbook.phases.support.probes import Probes

__all__ = ["from_containers"]


def from_containers(book: Book) -> StepResult:
    """Ask for Consul's servers from inside a container on every node."""

    def checks(book: Book) -> CheckTable:
        require_swarm(book)
        require_consul(book)
        servers = sorted(node.private_address for node in book.nodes if node.name in book.params.managers())
        script = "getent ahostsv4 consul.service.consul | cut -d' ' -f1 | sort -u | tr '\\n' ' '; echo; sed -n 's/^nameserver //p' /etc/resolv.conf"
        with Probes(book) as inside:
            seen = book.fleet.each(lambda host: inside.ask(host, script))
        rows = []
        for node in book.nodes:
            answer, *nameservers = seen[node.name] or [""]
            rows.append(
                equal(
                    node.name,
                    "consul.service.consul",
                    " ".join(servers),
                    " ".join(sorted(answer.split())) or "not found",
                )
            )
            rows.append(
                Check(
                    node.name,
                    "a container's first name server",
                    node.private_address,
                    " ".join(nameservers[:1]),
                    nameservers[:1] == [node.private_address],
                )
            )
        return CheckTable(rows)

    return look(book, checks)
