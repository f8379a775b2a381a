"""Phase 90: take away everything the book put on the machines, and keep the machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from swarmbook.access.commands import Script, lines, sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Facts, Probe, name, names
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step, look
from swarmbook.model.change import Action, Change, Word, by_host, refuse_unknown
from swarmbook.model.checks import Check, Table, equal
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.post_provision.disk_probe import second_disk
from swarmbook.show.changes import sentence

__all__ = ["Remains", "destroy", "doomed", "remains_on"]


@dataclass(frozen=True)
class Remains:
    """What of the book is on a node.

    Args:
        services: Names of all of the swarm's services; only a manager lists them.
        swarm: Whether the node is in a swarm.
        containers: Names of containers that carry the cluster's label.
        volumes: Names of volumes that do, and of the stacks'.
        images: Tags of images that the book has sent.
        data: The members' data folder, if it is there.
        files: Our files and folders.
        engine: What the engine was before the book: absent, stopped, running; or nothing when there is no record.
        disk: The second disk, if it carries a layout of ours that is to be undone.
        layers: What is on it.
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
    layers: tuple[str, ...] = ()


#: The record of what the engine was comes last: it is needed until everything else is gone.
_FILES = ("/etc/docker/swarmbook", "/etc/systemd/system/docker.service.d/swarmbook.conf", "/etc/swarmbook")
_ENGINE_STATES = ("absent", "stopped", "running")


def remains_on(cluster: str, data: str) -> Probe[Remains]:
    """What of the book is on a node.

    Args:
        cluster: The cluster's name.
        data: The members' data folder; empty for none.
    """
    script = sh(
        """up=$(systemctl is-active -q docker.service && echo yes)
engine() { [ -n "$up" ] && docker "$@" 2>/dev/null; }
engine service ls --format '{{.Name}}' | as services
engine info --format '{{.Swarm.LocalNodeState}}' | as swarm
{ engine ps -a --filter @{label} --format '{{.Names}}'; engine ps -a --filter label=com.docker.swarm.service.name --format '{{.Names}}'; } | sort -u | as containers
{ engine volume ls -q --filter @{label}; engine volume ls -q --filter label=com.docker.stack.namespace; } | sort -u | as volumes
engine images --format '{{.Repository}}:{{.Tag}}' | grep '^swarmbook/' | grep -v '<none>' | as images
{ [ -n @{data} ] && [ -e @{data} ] && echo yes; } | as data
ls -d @{files} 2>/dev/null | as files
cat /etc/swarmbook/engine-before 2>/dev/null | as engine""",
        label=f"label=swarmbook.cluster={cluster}",
        data=data,
        files=_FILES,
    )

    def read(facts: Facts) -> Remains:
        engine = "".join(facts["engine"]).strip()
        if engine and engine not in _ENGINE_STATES:
            raise ValueError(f"the engine was {engine[:40]!r}")
        files = tuple(path for path in _FILES if path in facts["files"])
        return Remains(
            services=names(facts["services"]),
            swarm=list(facts["swarm"]) == ["active"],
            containers=names(facts["containers"]),
            volumes=names(facts["volumes"]),
            images=tuple(name(tag) for tag in facts["images"] if tag),
            data=data if facts["data"] else "",
            files=files,
            engine=engine,
        )

    return Probe(script, read)


def _observe(book: Book) -> dict[str, Remains]:
    if not book.cluster.exists():
        return {}
    probe = remains_on(book.cluster.name, book.params.mariadb_data_path)

    def one(host: Host) -> Remains:
        remains = host.ask(probe)
        if not book.params.undo_storage:
            return remains
        named = host.node.disk if book.params.docker_disk == "auto" else book.params.docker_disk
        disk = host.ask(second_disk(named))
        ours = bool(layouts.matching(disk.content))
        return replace(remains, disk=disk.device, layers=tuple(disk.content)) if ours else remains

    return book.fleet.each(one)


def _short(containers: Iterable[str]) -> tuple[str, ...]:
    """Without the ids of tasks, which are others after every restart."""
    return tuple(sorted({container.partition(".")[0] for container in containers}))


def plan_destroy(seen: Mapping[str, Remains]) -> list[Change]:
    """Changes that take it all away; their things are what the operator is asked to confirm."""
    changes = []
    services = tuple(sorted({service for remains in seen.values() for service in remains.services}))
    if services:
        changes.append(Change("cluster", Action.REMOVE_SERVICES, services))
    for host, remains in seen.items():
        if remains.swarm:
            changes.append(Change(host, Action.LEAVE_SWARM))
        if remains.containers:
            changes.append(Change(host, Action.REMOVE_CONTAINERS, _short(remains.containers)))
        if remains.volumes:
            changes.append(Change(host, Action.REMOVE_VOLUMES, remains.volumes))
        if remains.data:
            changes.append(Change(host, Action.REMOVE_DATA, (remains.data,)))
        if remains.images:
            changes.append(Change(host, Action.REMOVE_IMAGES, remains.images))
        if remains.files:
            changes.append(Change(host, Action.SET_BACK_ENGINE, (remains.engine or "running",)))
            changes.append(Change(host, Action.REMOVE_FILES, remains.files))
        if remains.disk:
            changes.append(Change(host, Action.UNDO_LAYOUT, (remains.disk, *remains.layers)))
    return [replace(change, word=Word.DESTROY) for change in changes]


# -- the commands of each change: what was approved is what is named ----------------------------------------------------

#: Rules and bridges that an engine leaves behind when it stops. DOCKER_OUTPUT and DOCKER_POSTROUTING are not its own:
#: on a machine that is itself a container they are its name server.
_UNDO_NETWORK = sh(
    """for link in docker0 docker_gwbridge; do ip link delete $link 2>/dev/null || true; done
iptables-save 2>/dev/null | grep -vE '(DOCKER|DOCKER-[A-Z0-9-]+)( |$)|docker0|docker_gwbridge' | iptables-restore 2>/dev/null || true"""
)
_SETTINGS = "/etc/docker/daemon.json"


def _leave(change: Change, remains: Remains) -> list[Script]:
    return [
        sh("docker swarm leave --force >/dev/null"),
        sh("docker ps -aq --filter label=com.docker.swarm.service.name | xargs -r docker rm -f >/dev/null"),
    ]


def _remove_containers(change: Change, remains: Remains) -> list[Script]:
    chosen = [container for container in remains.containers if container.partition(".")[0] in change.things]
    return [sh("docker rm -f @{names} >/dev/null 2>&1 || true", names=chosen)]


def _remove_volumes(change: Change, remains: Remains) -> list[Script]:
    return [sh("docker volume rm -f @{names} >/dev/null", names=change.things)]


def _remove_data(change: Change, remains: Remains) -> list[Script]:
    return [sh("rm -rf @{path}", path=path) for path in change.things]


def _remove_images(change: Change, remains: Remains) -> list[Script]:
    return [sh("docker rmi -f @{tags} >/dev/null", tags=change.things)]


def _set_back(change: Change, remains: Remains) -> list[Script]:
    script = [
        sh(
            "if [ -e @{before} ]; then mv -f @{before} @{settings}; else rm -f @{settings}; fi",
            before=f"{_SETTINGS}.before-swarmbook",
            settings=_SETTINGS,
        ),
        sh("rm -rf @{files}", files=_FILES[:2]),
        sh("rmdir /etc/systemd/system/docker.service.d /etc/cni/net.d /etc/cni 2>/dev/null || true"),
        sh("systemctl daemon-reload"),
    ]
    if change.things == ("running",):  # it ran before the book came: what is in it stays
        script.append(sh("docker network rm docker_gwbridge >/dev/null 2>&1 || true; systemctl restart docker.service"))
    else:
        # The engine was ours alone, so its state is what the book put there.
        script += [
            sh("systemctl disable -q --now docker.service docker.socket containerd.service 2>/dev/null || true"),
            sh(
                "umount -q /var/lib/docker/overlay2/*/merged /var/run/docker/netns/* 2>/dev/null; "
                "find /var/lib/docker -mindepth 1 -delete 2>/dev/null || rm -rf /var/lib/docker/*"
            ),
            sh("rm -rf /var/lib/containerd/* /opt/containerd"),
            _UNDO_NETWORK,
        ]
    return [lines(*script)]


def _remove_files(change: Change, remains: Remains) -> list[Script]:
    return [sh("rm -rf @{files}", files=change.things)]


def _undo_layout(change: Change, remains: Remains) -> list[Script]:
    commands = list(layouts.undo_commands(change.things[0]))
    if remains.engine == "running":  # it ran before the book came, and goes on upon the first disk
        commands.append(sh("systemctl start docker.service"))
    return commands


#: In the order of a plan. The layout comes last: until then its disk is found again.
COMMANDS: Mapping[Action, Callable[[Change, Remains], list[Script]]] = {
    Action.LEAVE_SWARM: _leave,
    Action.REMOVE_CONTAINERS: _remove_containers,
    Action.REMOVE_VOLUMES: _remove_volumes,
    Action.REMOVE_DATA: _remove_data,
    Action.REMOVE_IMAGES: _remove_images,
    Action.SET_BACK_ENGINE: _set_back,
    Action.REMOVE_FILES: _remove_files,
    Action.UNDO_LAYOUT: _undo_layout,
}
_ALL_STOPPED = sh(
    'for i in $(seq 100); do [ -z "$(docker ps -q --filter label=com.docker.swarm.service.name)" ] && exit 0; sleep 0.2; done'
)


class Destroy(Step[Mapping[str, Remains], None]):
    """Take swarm, services, data, images, certificates and the engines' state away; the machines stay.

    Raises:
        ConfirmationMissing: The parameter ``confirm`` is not ``DESTROY``.
    """

    name = "destroy"
    asks_nodes = False

    def observe(self, book: Book) -> Mapping[str, Remains]:
        return _observe(book)

    def want(self, book: Book, seen: Mapping[str, Remains]) -> None:
        return None

    def plan(self, wanted: None, seen: Mapping[str, Remains]) -> list[Change]:
        return plan_destroy(seen)

    def apply(self, book: Book, wanted: None, seen: Mapping[str, Remains], changes: list[Change]) -> None:
        hosts = by_host(changes)
        services = [service for change in hosts.pop("cluster", []) for service in change.things]
        refuse_unknown([change for mine in hosts.values() for change in mine], COMMANDS)
        if services:
            manager = next(host for host, remains in seen.items() if remains.services)
            # Asked to stop cleanly first: a member flushes its buffer pool. Leaving the swarm would kill what has not ended.
            book.fleet[manager].run(sh("docker service rm @{names} >/dev/null 2>&1", names=services), check=False)
            book.fleet.each(lambda host: host.run(_ALL_STOPPED, check=False, timeout_s=60))

        def one(host: Host) -> None:
            for change in hosts[host.name]:
                for command in COMMANDS[change.action](change, seen[host.name]):
                    host.run(command, timeout_s=max(120, book.params.wait_timeout))

        book.fleet.each(one, list(hosts))

    def verify(self, wanted: None, seen: Mapping[str, Remains]) -> list[Check]:
        return [
            equal(
                host,
                "what is left of the book",
                "nothing",
                "; ".join(sentence(change) for change in plan_destroy({host: remains})) or "nothing",
            )
            for host, remains in seen.items()
        ]

    def forecast(self, ahead: Forecast, seen: Mapping[str, Remains], changes: list[Change]) -> None:
        ahead.absent |= set(seen)  # the engines' state goes: what comes after this finds them as 02 left them


destroy = Destroy()


@look()
def doomed(book: Book) -> Table:
    """Name all that 90 would remove; nothing is touched."""
    changes = plan_destroy(_observe(book))
    return Table(["where", "will be removed"], [[change.host, sentence(change)] for change in changes])
