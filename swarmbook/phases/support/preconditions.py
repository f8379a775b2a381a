"""What a phase stands on: asked first, so that a notebook run out of order says which one is missing."""

from __future__ import annotations

from swarmbook.base.errors import OutOfOrder
from swarmbook.book.book import Book

__all__ = ["require_consul", "require_swarm"]


def require_swarm(book: Book) -> str:
    """The first manager by the parameters that answers as one.

    Raises:
        OutOfOrder: There is no swarm.
    """
    first: str = book.params.nodes[0]
    probe = "docker info --format '{{.Swarm.ControlAvailable}}' 2>/dev/null || true"
    seen = {host.name: host.run(probe, quiet=True).stdout.strip() for host in [book.fleet[first]]}
    if seen[first] == "true":
        return first
    rest = [name for name in book.params.nodes if name != first]
    seen.update(book.fleet.each(lambda host: host.run(probe, quiet=True).stdout.strip(), rest))
    manager = next((name for name, answer in seen.items() if answer == "true"), None)
    if manager is None:
        raise OutOfOrder(
            f"run 03 first: no swarm on {first}",
            where=", ".join(seen),
            wanted="a swarm manager",
            seen="; ".join(f"{n}: {'a worker' if a == 'false' else 'no engine'}" for n, a in seen.items()),
            next="swarmbook run PARAMS --from 03",
        )
    return manager


def require_consul(book: Book) -> None:
    """Every node runs a Consul agent.

    Raises:
        OutOfOrder: One does not.
    """
    probe = "docker ps -q --filter label=com.docker.stack.namespace=consul"
    without = [
        name
        for name, output in book.fleet.each(lambda host: host.run(probe, quiet=True).stdout.strip()).items()
        if not output
    ]
    if without:
        raise OutOfOrder(
            f"run 04 first: no Consul on {', '.join(without)}",
            where=", ".join(without),
            wanted="a running agent of the stack consul on every node",
            next="swarmbook run PARAMS --from 04",
        )
