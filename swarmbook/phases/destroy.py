"""Phase 90: take away everything the book put on the machines, and keep the machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from swarmbook.access.commands import Script, lines, sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Facts, Probe, name, names
from swarmbook.base.errors import WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step, look
from swarmbook.model.change import Action, Change, Word, by_host, refuse_unknown
from swarmbook.model.checks import Check, Table, equal
from swarmbook.model.health import EngineBefore
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.post_provision.disk_probe import second_disk
from swarmbook.phases.support.engine_data import MOUNT_POINT
from swarmbook.show.changes import sentence

__all__ = ["Remains", "destroy", "doomed", "plan_destroy", "refuse_blind", "remains_on"]


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
_RECORD = "/etc/swarmbook"
_FILES = ("/etc/docker/swarmbook", "/etc/systemd/system/docker.service.d/swarmbook.conf", _RECORD)
#: Where an engine and its containerd keep what they hold. Emptied where all of it is the book's.
_HELD = (MOUNT_POINT, "/var/lib/containerd", "/opt/containerd")


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
        files=_FILES,
    )

    def read(facts: Facts) -> Remains:
        engine = "".join(facts["engine"]).strip()
        files = tuple(path for path in _FILES if path in facts["files"])
        return Remains(
            services=names(facts["services"]),
            up=any(facts["up"]),
            swarm=list(facts["swarm"]) == ["active"],
            containers=names(facts["containers"]),
            volumes=names(facts["volumes"]),
            # An engine lists images by age, and those of one second in any order: a consent is held to what it named.
            images=tuple(sorted(name(tag) for tag in facts["images"] if tag)),
            data=data if facts["data"] else "",
            files=files,
            before=EngineBefore(engine) if engine else None,
        )

    return Probe(script, read)


def _observe(book: Book) -> dict[str, Remains]:
    if not book.cluster.exists():
        return {}
    probe = remains_on(book.cluster.name, book.params.mariadb_data_path)

    def one(host: Host) -> Remains:
        remains = host.ask(probe)
        refuse_blind(host.name, remains)
        if not book.params.undo_storage:
            return remains
        named = host.node.disk if book.params.docker_disk == "auto" else book.params.docker_disk
        disk = host.ask(second_disk(named))
        ours = bool(layouts.matching(disk.content))
        return replace(remains, disk=disk.device, layers=tuple(disk.content)) if ours else remains

    return book.fleet.each(one)


def refuse_blind(host: str, remains: Remains) -> None:
    """Refuse to go on where an engine that held other things does not run: nothing says what in it is the book's."""
    # What comes before the engine is set back has taken the book's things out of it; the record alone is left then.
    if remains.up or set(remains.files) <= {_RECORD} or _before(remains).ours:
        return
    raise WorldError(
        f"the engine on {host} does not run, so what the book put into it cannot be listed; nothing was removed",
        where=host,
        wanted="a running engine: it held other things before the book came, and they stay",
        seen="docker.service is not active",
        next=f"swarmbook ssh {host} systemctl start docker; its log: swarmbook ssh {host} journalctl -u docker -n 50",
    )


def _before(remains: Remains) -> EngineBefore:
    """Return what the engine was; without a record it is taken for one that held other things."""
    return remains.before or EngineBefore.RUNNING


def _short(containers: Iterable[str]) -> tuple[str, ...]:
    """Return the containers' names without the ids of tasks, which are others after every restart."""
    return tuple(sorted({container.partition(".")[0] for container in containers}))


def plan_destroy(seen: Mapping[str, Remains]) -> list[Change]:
    """Plan the changes that take it all away; their things are what the operator is asked to confirm."""
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
            before = _before(remains)
            changes.append(Change(host, Action.SET_BACK_ENGINE, (before.value, *(_HELD if before.ours else ()))))
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
        # The engine is removing them as well, and then refuses; apply waits until they are gone.
        sh("docker ps -aq --filter label=com.docker.swarm.service.name | xargs -r docker rm -f >/dev/null || true"),
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
    before, *emptied = change.things
    if not EngineBefore(before).ours:  # what is in it stays
        script.append(sh("docker network rm docker_gwbridge >/dev/null 2>&1 || true"))
    if before == EngineBefore.RUNNING:
        script.append(sh("systemctl restart docker.service"))
    else:
        script += [
            sh("systemctl disable -q --now docker.service docker.socket containerd.service 2>/dev/null || true"),
            sh("umount -q /var/lib/docker/overlay2/*/merged /var/run/docker/netns/* 2>/dev/null || true"),
            *(
                sh("find @{folder} -mindepth 1 -delete 2>/dev/null || rm -rf @{folder}/*", folder=folder)
                for folder in emptied
            ),
            sh("rmdir /opt/containerd 2>/dev/null || true"),
            _UNDO_NETWORK,
        ]
    return [lines(*script)]


def _remove_files(change: Change, remains: Remains) -> list[Script]:
    return [sh("rm -rf @{files}", files=change.things)]


def _undo_layout(change: Change, remains: Remains) -> list[Script]:
    commands = list(layouts.undo_commands(change.things[0]))
    # One that ran before the book came is still enabled, and goes on upon the first disk.
    commands.append(
        sh("if systemctl is-enabled -q docker.service 2>/dev/null; then systemctl start docker.service; fi")
    )
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


def _tasks(*flags: str) -> Probe[tuple[str, ...]]:
    # An engine that gives no answer has not stopped them, nor removed them.
    script = sh(
        """tasks=$(docker ps @{flags} --filter label=com.docker.swarm.service.name --format '{{.Names}}') || exit 1
echo "$tasks" | as tasks""",
        flags=flags,
    )
    return Probe(script, lambda facts: names(facts["tasks"]))


#: Containers of the swarm's services on a node: those that run, and those that are there.
_RUNNING, _THERE = _tasks(), _tasks("--all")
#: Seconds. More than the 180 that a member is given to stop; after its own grace, the engine kills a task.
_STOPPED_WITHIN = 200


def _none(host: Host, tasks: Probe[tuple[str, ...]], what: str, next: str) -> None:
    def look() -> tuple[bool, str]:
        left = host.ask(tasks, quiet=True)
        return not left, ", ".join(left)

    wait_for(
        f"the services' containers on {host.name} {what}", look, timeout_s=_STOPPED_WITHIN, where=host.name, next=next
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
            book.fleet[manager].run(sh("docker service rm @{names} >/dev/null", names=services), check=False)
            book.fleet.each(
                lambda host: _none(host, _RUNNING, "have stopped", "run 90 again: it kills those that are left"),
                [host for host, remains in seen.items() if remains.up],
            )

        def one(host: Host) -> None:
            for change in hosts[host.name]:
                for command in COMMANDS[change.action](change, seen[host.name]):
                    host.run(command, timeout_s=max(120, book.params.wait_timeout))
                if change.action is Action.LEAVE_SWARM:
                    _none(host, _THERE, "are gone", f"swarmbook ssh {host.name} docker ps -a; then run 90 again")

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
