"""Names of a Galera cluster's parts, and how the containers of a service are listed: for the phases that deal with members."""

from __future__ import annotations

from swarmbook.access.commands import Script, sh
from swarmbook.access.probe import Probe, container_id
from swarmbook.params import Params

__all__ = [
    "ROLES",
    "WATCHERS",
    "endpoint_name",
    "endpoint_service",
    "endpoint_stack",
    "member_name",
    "of_service",
    "running_of",
    "service_name",
    "watch_service",
    "watch_stack",
]

#: What an application wants of the endpoint: the one member that takes writes, or any that is Synced.
ROLES = ("writer", "reader")
#: The services that watch: Prometheus, what it asks on each node, and what asks the members for it.
WATCHERS = ("prometheus", "node-exporter", "mysqld-exporter")


def member_name(params: Params, node: str) -> str:
    """Return the name of a node's member: its alias on the overlay, its ``wsrep_node_name``, its certificate's name."""
    return f"{params.mariadb_cluster_name}-{node}"


def service_name(params: Params, node: str) -> str:
    """Return the full name of the swarm service that runs the member on a node."""
    return f"{params.mariadb_cluster_name}_{node}"


def endpoint_name(params: Params, role: str) -> str:
    """Return the name under which applications on the overlay find a role: ``galera-writer``, say.

    Args:
        params: The parameters.
        role: One of :data:`ROLES`.
    """
    return f"{params.mariadb_cluster_name}-{role}"


def endpoint_stack(params: Params) -> str:
    """Return the name of the stack of the endpoint's services: the members' own stack holds members alone."""
    return f"{params.mariadb_cluster_name}-endpoint"


def endpoint_service(params: Params, role: str) -> str:
    """Return the full name of the swarm service that leads to a role."""
    return f"{endpoint_stack(params)}_{role}"


def watch_stack(params: Params) -> str:
    """Return the name of the stack of what watches: Prometheus and the exporters. Its data's volume begins with it."""
    return f"{params.mariadb_cluster_name}-watch"


def watch_service(params: Params, part: str) -> str:
    """Return the full name of a swarm service that watches; the overlay knows it by that name.

    Args:
        params: The parameters.
        part: One of :data:`WATCHERS`.
    """
    return f"{watch_stack(params)}_{part}"


def of_service(service: str, *more: str) -> Script:
    """Build the ``docker ps`` for the containers of a service.

    Args:
        service: Its full name.
        more: More filters, ``status=exited`` say.
    """
    filters = [
        word for value in (f"label=com.docker.swarm.service.name={service}", *more) for word in ("--filter", value)
    ]
    return sh("docker ps --no-trunc @{filters}", filters=filters)


def running_of(service: str) -> Probe[tuple[str, ...]]:
    """Ask for the ids of a service's containers that run.

    Args:
        service: Its full name.
    """
    return Probe(
        sh("@!{running} -q | as running", running=of_service(service)),
        lambda facts: tuple(container_id(line) for line in facts["running"] if line),
    )
