"""Phase 90: take away everything the book put on the machines, and keep the machines."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from swarmbook.access.hosts import Host
from swarmbook.book.book import Book, Change, Prospect, StepResult, converge, look
from swarmbook.model.checks import Check, Table, equal
from swarmbook.params import ParamView
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.post_provision.disk_probe import ask

__all__ = ["Remains", "destroy", "doomed", "plan_destroy"]


@dataclass(frozen=True)
class Remains:
    """What of the book is on a node.

    Args:
        services: Names of the swarm's services, whoever made them; only a manager tells.
        swarm: Whether the node is in a swarm.
        containers: Names of containers that carry the cluster's label.
        volumes: Names of volumes that do, and of the stacks'.
        images: Tags of images that the book has sent.
        data: The members' data folder, if it is there.
        files: Our files and folders.
        engine: What the engine was before the book: absent, stopped, running; or nothing when there is no record.
        disk: The second disk, if it carries a layout of ours that is to be undone.
        layout: What is on it, in words.
    """

    services: tuple[str, ...] = ()
    swarm: bool = False
    containers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    data: str = ""
    files: tuple[str, ...] = ()
    engine: str = ""
    disk: str = ""
    layout: str = ""


_FILES = ("/etc/swarmbook", "/etc/docker/swarmbook", "/etc/systemd/system/docker.service.d/swarmbook.conf")


def _probe(cluster: str, data: str) -> str:
    label = f"label=swarmbook.access.cluster={cluster}"
    return f"""
lines() {{ sed 's/.*/"&"/' | paste -sd, -; }}
up=$(systemctl is-active -q docker.service && echo yes)
engine() {{ [ -n "$up" ] && docker "$@" 2>/dev/null; }}
cat <<END
{{"services": [$(engine service ls --format '{{{{.Name}}}}' | lines)],
 "swarm": $([ "$(engine info --format '{{{{.Swarm.LocalNodeState}}}}')" = active ] && echo true || echo false),
 "containers": [$( (engine ps -a --filter {label} --format '{{{{.Names}}}}'; engine ps -a --filter label=com.docker.swarm.service.name --format '{{{{.Names}}}}') | sort -u | lines)],
 "volumes": [$( (engine volume ls -q --filter {label}; engine volume ls -q --filter label=com.docker.stack.namespace) | sort -u | lines)],
 "images": [$(engine images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' | grep '^swarmbook/' | lines)],
 "data": "$([ -n {shlex.quote(data)} ] && [ -e {shlex.quote(data or "/nonexistent")} ] && echo {shlex.quote(data)})",
 "files": [$(ls -d {" ".join(_FILES)} 2>/dev/null | lines)],
 "engine": "$(cat /etc/swarmbook/engine-before 2>/dev/null)"}}
END
"""


def _observe(book: Book) -> dict[str, Remains]:
    if not book.cluster.exists():
        return {}
    script = _probe(book.cluster.name, book.params.mariadb_data_path)

    def one(host: Host) -> Remains:
        data: dict[str, Any] = json.loads(host.run(script).stdout)
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        remains = Remains(**fields)
        if not book.params.undo_storage:
            return remains
        disk = ask(host, host.node.disk if book.params.docker_disk == "auto" else book.params.docker_disk)
        return (
            replace(remains, disk=disk.device, layout=layouts.told(disk.content))
            if layouts.matching(disk.content)
            else remains
        )

    return book.fleet.each(one)


def _short(containers: Iterable[str]) -> list[str]:
    """Without the ids of tasks, which are others after every restart."""
    return sorted({name.partition(".")[0] for name in containers})


def plan_destroy(seen: Mapping[str, Remains]) -> list[Change]:
    """Changes that take it all away; pure. Their details are what the operator is asked to confirm."""
    changes = []
    services = sorted({service for remains in seen.values() for service in remains.services})
    if services:
        changes.append(Change("cluster", "services", f"services {' '.join(services)}"))
    for name, remains in seen.items():
        if remains.swarm:
            changes.append(Change(name, "leave", "its place in the swarm"))
        if remains.containers:
            changes.append(
                Change(
                    name,
                    "containers",
                    f"containers of {' '.join(_short(remains.containers))}",
                    {"names": list(remains.containers)},
                )
            )
        if remains.volumes:
            changes.append(
                Change(
                    name,
                    "volumes",
                    f"volumes with their data: {' '.join(remains.volumes)}",
                    {"names": list(remains.volumes)},
                )
            )
        if remains.data:
            changes.append(Change(name, "data", f"database folder {remains.data}", {"path": remains.data}))
        if remains.images:
            changes.append(
                Change(name, "images", f"images {' '.join(remains.images)}", {"names": list(remains.images)})
            )
        if remains.files:
            changes.append(
                Change(
                    name,
                    "files",
                    f"{' '.join(remains.files)}; the engine set back to {remains.engine or 'running'}",
                    {"engine": remains.engine or "running"},
                )
            )
        if remains.disk:
            changes.append(
                Change(
                    name,
                    "disk",
                    f"the layout of {remains.disk} with all that is on it: {remains.layout}, its mount and its line in fstab",
                    {"disk": remains.disk},
                )
            )
    return [replace(change, word="DESTROY") for change in changes]


#: Rules and bridges that an engine leaves behind when it stops. DOCKER_OUTPUT and DOCKER_POSTROUTING are not its own:
#: on a machine that is itself a container they are its name server.
_UNDO_NETWORK = """for link in docker0 docker_gwbridge; do ip link delete $link 2>/dev/null || true; done
iptables-save 2>/dev/null | grep -vE '(DOCKER|DOCKER-[A-Z0-9-]+)( |$)|docker0|docker_gwbridge' | iptables-restore 2>/dev/null || true"""


def _apply(book: Book, seen: Mapping[str, Remains], changes: list[Change]) -> None:
    by_host: dict[str, list[Change]] = {}
    for change in changes:
        by_host.setdefault(change.host, []).append(change)
    if "cluster" in by_host:
        manager = next(name for name, remains in seen.items() if remains.services)
        # Asked to stop in good order first: a member flushes its buffer pool. Leaving the swarm would kill what has not ended.
        names = sorted({service for remains in seen.values() for service in remains.services})
        book.fleet[manager].run(f"docker service rm {' '.join(map(shlex.quote, names))} >/dev/null 2>&1", check=False)
        wait = 'for i in $(seq 100); do [ -z "$(docker ps -q --filter label=com.docker.swarm.service.name)" ] && exit 0; sleep 0.2; done'
        book.fleet.each(lambda host: host.run(wait, check=False, timeout_s=60))

    def one(host: Host) -> None:
        for change in by_host.get(host.name, []):
            names = " ".join(map(shlex.quote, change.data.get("names", [])))
            if change.action == "leave":
                host.run("docker swarm leave --force >/dev/null", timeout_s=120)
                host.run(
                    "docker ps -aq --filter label=com.docker.swarm.service.name | xargs -r docker rm -f >/dev/null",
                    timeout_s=120,
                )
            elif change.action == "containers":
                host.run(f"docker rm -f {names} >/dev/null 2>&1", check=False)
            elif change.action == "volumes":
                host.run(f"docker volume rm -f {names} >/dev/null")
            elif change.action == "data":
                host.run(f"rm -rf {shlex.quote(change.data['path'])}", timeout_s=book.params.wait_timeout)
            elif change.action == "images":
                host.run(f"docker rmi -f {names} >/dev/null", timeout_s=120)
            elif change.action == "files":
                _set_back(book, host, change.data["engine"])
            elif change.action == "disk":  # last: until then it is found again
                for command in layouts.undo_commands(change.data["disk"]):
                    host.run(command, timeout_s=book.params.wait_timeout)
                if seen[host.name].engine == "running":  # it was somebody's before us, and goes on upon the first disk
                    host.run("systemctl start docker.service", timeout_s=book.params.wait_timeout)

    book.fleet.each(one, [name for name in by_host if name != "cluster"])


def _set_back(book: Book, host: Host, engine: str) -> None:
    settings = "/etc/docker/daemon.json"
    script = [
        f"if [ -e {settings}.before-swarmbook ]; then mv -f {settings}.before-swarmbook {settings}; else rm -f {settings}; fi",
        f"rm -rf {_FILES[1]} {_FILES[2]}",
        "rmdir /etc/systemd/system/docker.service.d /etc/cni/net.d /etc/cni 2>/dev/null || true",
        "systemctl daemon-reload",
    ]
    if engine == "running":  # it was somebody's before us: what is in it stays
        script.append("docker network rm docker_gwbridge >/dev/null 2>&1 || true; systemctl restart docker.service")
    else:
        # The engine was ours alone, so its state is what the book put there.
        script.append("systemctl disable -q --now docker.service docker.socket containerd.service 2>/dev/null || true")
        script.append(
            "umount -q /var/lib/docker/overlay2/*/merged /var/run/docker/netns/* 2>/dev/null; find /var/lib/docker -mindepth 1 -delete 2>/dev/null || rm -rf /var/lib/docker/*"
        )
        script.append("rm -rf /var/lib/containerd/* /opt/containerd")
        script.append(_UNDO_NETWORK)
    script.append(f"rm -rf {_FILES[0]}")  # last: it holds the record of what the engine was
    host.run("\n".join(script), timeout_s=book.params.wait_timeout)


def doomed(book: Book) -> StepResult:
    """Name all that 90 would remove; nothing is touched."""

    def table(book: Book) -> Table:
        changes = plan_destroy(_observe(book))
        return Table(["where", "will be removed"], [[change.host, change.detail] for change in changes])

    return look(book, table)


def destroy(book: Book) -> StepResult:
    """Take swarm, services, data, images, certificates and the engines' state away; the machines stay.

    Raises:
        ConfirmationMissing: The parameter ``confirm`` is not ``DESTROY``.
    """

    def verify(params: ParamView, seen: Mapping[str, Remains]) -> list[Check]:
        return [
            equal(
                name,
                "what is left of the book",
                "nothing",
                "; ".join(c.detail for c in plan_destroy({name: remains})) or "nothing",
            )
            for name, remains in seen.items()
        ]

    def ahead(prospect: Prospect, seen: Mapping[str, Remains], changes: list[Change]) -> None:
        prospect.absent |= set(seen)  # the engines' state goes: what comes after this finds them as 02 left them

    return converge(
        book,
        observe=_observe,
        plan=lambda params, seen: plan_destroy(seen),
        apply=_apply,
        verify=verify,
        what="destroy",
        ahead=ahead,
    )
