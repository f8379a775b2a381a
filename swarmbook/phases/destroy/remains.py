"""What of the book is on a node: one probe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, name, names
from swarmbook.model.health import EngineBefore, SwarmState
from swarmbook.phases.support.engine_data import MOUNT_POINT
from swarmbook.phases.support.member_data import MARK
from swarmbook.phases.support.wall import THERE as WALL_THERE

__all__ = ["ENGINE_FILES", "HELD", "RECORD", "Remains", "remains_on"]


@dataclass(frozen=True)
class Remains:
    """What of the book is on a node.

    Args:
        services: Names of all of the swarm's services; only a manager lists them.
        up: Whether its engine runs; of one that does not, nothing that it holds can be listed.
        swarm: Whether the node is in a swarm.
        containers: Names of containers that carry the cluster's label, and of the swarm's tasks.
        volumes: Names of volumes that carry the cluster's label, and of the book's stacks'.
        images: Tags of images that the book has sent.
        data: The members' data folder, if it is there and carries the book's mark.
        files: Our files and folders.
        before: What the engine was before the book; None when there is no record.
        disk: The second disk, if it carries a layout of ours that is to be undone.
        layers: What is on it.
        theirs: What else the engine holds, which no one asked the book to remove: containers, volumes, images.
        running: Whether one of those containers runs.
        mounts: What is mounted below the engine's folders, and not by the engine.
        wall: Whether anything of a wall of ours is there.
        packages: Packages of ours that go.
        kept: Those of them whose settings stay.
        needed: Why others stay, by package.
        lists: Files for the package manager that go.
        family: The package manager's; empty where no packages are to go.
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
    theirs: tuple[str, ...] = ()
    running: bool = False
    mounts: tuple[str, ...] = ()
    wall: bool = False
    packages: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    needed: tuple[tuple[str, str], ...] = ()
    lists: tuple[str, ...] = ()
    family: str = ""


#: Comes last: what the engine was is needed until everything else is gone.
RECORD = "/etc/swarmbook"
#: What an engine says that is in no swarm, or does not run; one that is locked, or whose certificate has ended, is in one.
_IN_NONE = (SwarmState.INACTIVE, SwarmState.NONE)
ENGINE_FILES = ("/etc/docker/swarmbook", "/etc/systemd/system/docker.service.d/swarmbook.conf", RECORD)
#: Where an engine and its containerd keep what they hold. Emptied where all of it is the book's.
HELD = (MOUNT_POINT, "/var/lib/containerd", "/opt/containerd")


#: What an engine itself mounts below its folders.
_OWN_MOUNTS = re.compile(
    r"/(overlay2|rootfs/overlayfs)/[^/]+(/merged)?|/containers/[^/]+/(mounts/.+|shm)|/btrfs(/.+)?|/io\.containerd\..+"
)
#: Names in a listing, and labels behind them; a name holds no slash.
_SEPARATOR = "/"


def remains_on(cluster: str, data: str, stacks: Sequence[str] = ()) -> Probe[Remains]:
    """Find what the book has put on a node, and what else is in its engine.

    Args:
        cluster: The cluster's name.
        data: The members' data folder; empty for none.
        stacks: Names of the book's stacks.
    """
    # An engine that runs and gives no answer ends the script: what cannot be listed must not be taken for nothing. Of one
    # that does not run, the disk says what it holds.
    script = sh(
        """if systemctl is-active -q docker.service; then
  up=yes
  services=$(docker service ls --format '{{.Name}}' 2>/dev/null)  # a worker cannot list them
  swarm=$(docker info --format '{{.Swarm.LocalNodeState}}') || exit 1
  containers=$(docker ps -a --format '{{.Names}}/{{.State}}/{{.Label "swarmbook.cluster"}}/{{.Label "com.docker.swarm.service.name"}}') || exit 1
  volumes=$(docker volume ls --format '{{.Name}}/{{.Label "swarmbook.cluster"}}/{{.Label "com.docker.stack.namespace"}}') || exit 1
  images=$(docker images --format '{{.Repository}}:{{.Tag}}') || exit 1
else
  kept=$(cd @{engine}/volumes 2>/dev/null && find . -mindepth 1 -maxdepth 1 -type d | cut -c3-
    cd @{engine}/containers 2>/dev/null && grep -L -e '"com.docker.swarm.service.name"' -e @{marked} */config.v2.json | cut -d/ -f1)
fi
echo "$up" | as up
echo "$services" | as services
echo "$swarm" | as swarm
echo "$containers" | sort | as containers
echo "$volumes" | sort | as volumes
echo "$images" | grep -v '<none>' | as images
echo "$kept" | as kept
{ [ -n @{data} ] && [ "$(cat @{mark} 2>/dev/null)" = @{cluster} ] && echo yes; } | as data
ls -d @{files} 2>/dev/null | as files
findmnt -rn -o TARGET | as mounts
{ @!{wall} && echo yes; } | as wall
cat /etc/swarmbook/engine-before 2>/dev/null | as engine""",
        cluster=cluster,
        marked=f'"swarmbook.cluster":"{cluster}"',
        engine=MOUNT_POINT,
        data=data,
        mark=f"{data}/{MARK}",
        files=ENGINE_FILES,
        wall=WALL_THERE,
    )

    def read(facts: Facts) -> Remains:
        engine = "".join(facts["engine"]).strip()
        ours: dict[str, list[str]] = {"container": [], "volume": [], "image": []}
        theirs: list[str] = []

        def sort(kind: str, found: str, mine: bool) -> None:
            (ours[kind] if mine else theirs).append(name(found) if mine else f"{kind} {name(found)}")

        running = False
        for line in filter(None, facts["containers"]):
            found, state, label, service = line.split(_SEPARATOR, 3)
            sort("container", found, label == cluster or bool(service))
            running = running or (state == "running" and label != cluster and not service)
        for line in filter(None, facts["volumes"]):
            found, label, stack = line.split(_SEPARATOR, 2)
            sort("volume", found, label == cluster or stack in stacks)
        for tag in filter(None, facts["images"]):
            sort("image", tag, tag.startswith("swarmbook/"))
        # Of a stopped engine: its stacks' volumes have names of their own.
        known = {f"{stack}{between}data" for stack in stacks for between in "-_"}
        theirs += [f"{name(kept)} in {MOUNT_POINT}" for kept in facts["kept"] if kept and kept not in known]
        return Remains(
            services=names(facts["services"]),
            up=any(facts["up"]),
            swarm=SwarmState.read("".join(facts["swarm"]) or "none") not in _IN_NONE,
            # Each sorted, whatever order an engine lists them in: a consent is held to what it named.
            containers=tuple(sorted(ours["container"])),
            volumes=tuple(sorted(ours["volume"])),
            images=tuple(sorted(ours["image"])),
            data=data if facts["data"] else "",
            files=tuple(path for path in ENGINE_FILES if path in facts["files"]),
            before=EngineBefore(engine) if engine else None,
            theirs=tuple(sorted(theirs)),
            running=running,
            mounts=tuple(mount for mount in facts["mounts"] if _foreign(mount)),
            wall=any(facts["wall"]),
        )

    return Probe(script, read)


def _foreign(mount: str) -> bool:
    """Tell whether something is mounted below an engine's folder, and not by the engine."""
    folder = next((folder for folder in HELD if mount.startswith(f"{folder}/")), None)
    return folder is not None and not _OWN_MOUNTS.fullmatch(mount.removeprefix(folder))
