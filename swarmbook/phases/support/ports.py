"""The ports of a cluster, once: which they are, and who has a use for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto

from swarmbook.access.commands import Script, sh
from swarmbook.params import Params

__all__ = ["SERVED", "Port", "Users", "holder", "wanted_ports"]


class Users(Flag):
    """Who has a use for a port of a node, besides the node itself."""

    NODES = auto()
    CONTAINERS = auto()  # those that run on this very node
    CLIENTS = auto()  # hosts of the networks in ``mariadb_clients``


#: Of what a node serves to others than nodes.
SERVED = Users.NODES | Users.CONTAINERS


@dataclass(frozen=True)
class Port:
    """A port that the cluster opens on every node, what for, and for whom."""

    protocol: str
    number: int
    what: str
    users: Users = Users.NODES

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


def wanted_ports(params: Params) -> list[Port]:
    """List every port that the nodes use among themselves, or show."""
    both = ("tcp", "udp")
    mariadb = [Port("tcp", params.mariadb_port, "MariaDB", SERVED | Users.CLIENTS)] if params.mariadb_port else []
    ends = {"the writer": params.endpoint_writer_port, "the readers": params.endpoint_reader_port}
    mariadb += [Port("tcp", port, what, SERVED | Users.CLIENTS) for what, port in ends.items() if port]
    return [
        Port("tcp", params.docker_api_port, "the engine's API"),
        Port("tcp", 2377, "swarm"),
        *(Port(p, 7946, "swarm gossip") for p in both),
        Port("udp", 4789, "VXLAN"),
        Port("tcp", 8300, "Consul"),
        *(Port(p, port, "Consul gossip") for port in (8301, 8302) for p in both),
        Port("tcp", params.consul_https_port, "Consul's API", SERVED),
        *(Port(p, 53, "Consul's DNS", Users.CONTAINERS) for p in both),  # each container asks the agent of its own node
        *mariadb,
    ]


#: docker-proxy listens from before a container runs until after it has ended: by itself it does not say whose it is.
_HOLDER = """ss -Hltnp "sport = :"@{port} | head -n 1 | while IFS= read -r listener; do
case "$listener" in
*'("docker-proxy",'*)
found=$(docker ps --filter publish=@{port} --format '{{.Names}} {{.Label "com.docker.swarm.service.name"}}') || { echo "$listener"; continue; }
[ -z "$found" ] || echo "$found" | while read -r container service; do [ "$service" = @{service} ] || echo "the container $container publishes it"; done ;;
*) echo "$listener" ;;
esac; done | head -n 1"""


def holder(port: int, service: str) -> Script:
    """Build what says who listens on a port of a node, if that is not a service's own container.

    Args:
        port: Of TCP.
        service: The full name of the service that is to have it.
    """
    return sh(_HOLDER, port=port, service=service)
