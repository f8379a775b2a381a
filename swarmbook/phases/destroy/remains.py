"""What of the book is on a node: one probe."""

from __future__ import annotations

from dataclasses import dataclass

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, name, names
from swarmbook.model.health import EngineBefore
from swarmbook.phases.support.engine_data import MOUNT_POINT

__all__ = ["ENGINE_FILES", "HELD", "RECORD", "Remains", "remains_on"]


@dataclass(frozen=True)
class Remains:
    """What of the book is on a node.

    Args:
        services: Names of all of the swarm's services; only a manager lists them.
        up: Whether its engine runs; of one that does not, nothing that it holds can be listed.
        swarm: Whether the node is in a swarm.
        containers: Names of containers that carry the cluster's label.
        volumes: Names of volumes that do, and of the stacks'.
        images: Tags of images that the book has sent.
        data: The members' data folder, if it is there.
        files: Our files and folders.
        before: What the engine was before the book; None when there is no record.
        disk: The second disk, if it carries a layout of ours that is to be undone.
        layers: What is on it.
    """

    services: tuple[str, ...] = ()
    up: bool = False
    swarm: bool = False
    containers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    data: str = ""
    files: tuple[str, ...] = ()
    before: EngineBefore | None = None
    disk: str = ""
    layers: tuple[str, ...] = ()


#: Comes last: what the engine was is needed until everything else is gone.
RECORD = "/etc/swarmbook"
ENGINE_FILES = ("/etc/docker/swarmbook", "/etc/systemd/system/docker.service.d/swarmbook.conf", RECORD)
#: Where an engine and its containerd keep what they hold. Emptied where all of it is the book's.
HELD = (MOUNT_POINT, "/var/lib/containerd", "/opt/containerd")


def remains_on(cluster: str, data: str) -> Probe[Remains]:
    """Find what the book has put on a node.

    Args:
        cluster: The cluster's name.
        data: The members' data folder; empty for none.
    """
    # An engine that runs and gives no answer ends the script: what cannot be listed must not be taken for nothing.
    script = sh(
        """if systemctl is-active -q docker.service; then
  up=yes
  services=$(docker service ls --format '{{.Name}}' 2>/dev/null)  # a worker cannot list them
  swarm=$(docker info --format '{{.Swarm.LocalNodeState}}') || exit 1
  containers=$(docker ps -a --filter @{label} --format '{{.Names}}' && docker ps -a --filter label=com.docker.swarm.service.name --format '{{.Names}}') || exit 1
  volumes=$(docker volume ls -q --filter @{label} && docker volume ls -q --filter label=com.docker.stack.namespace) || exit 1
  images=$(docker images --format '{{.Repository}}:{{.Tag}}') || exit 1
fi
echo "$up" | as up
echo "$services" | as services
echo "$swarm" | as swarm
echo "$containers" | sort -u | as containers
echo "$volumes" | sort -u | as volumes
echo "$images" | grep '^swarmbook/' | grep -v '<none>' | as images
{ [ -n @{data} ] && [ -e @{data} ] && echo yes; } | as data
ls -d @{files} 2>/dev/null | as files
cat /etc/swarmbook/engine-before 2>/dev/null | as engine""",
        label=f"label=swarmbook.cluster={cluster}",
        data=data,
        files=ENGINE_FILES,
    )

    def read(facts: Facts) -> Remains:
        engine = "".join(facts["engine"]).strip()
        files = tuple(path for path in ENGINE_FILES if path in facts["files"])
        return Remains(
            services=names(facts["services"]),
            up=any(facts["up"]),
            swarm=list(facts["swarm"]) == ["active"],
            containers=names(facts["containers"]),
            volumes=names(facts["volumes"]),
            images=tuple(name(tag) for tag in facts["images"] if tag),
            data=data if facts["data"] else "",
            files=files,
            before=EngineBefore(engine) if engine else None,
        )

    return Probe(script, read)
