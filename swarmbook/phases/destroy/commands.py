"""The commands of each change: what was approved is what they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from swarmbook.access.commands import Script, lines, sh
from swarmbook.model.change import Action, Change
from swarmbook.model.health import EngineBefore
from swarmbook.phases.destroy.remains import ENGINE_FILES, Remains
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.support.added import removal
from swarmbook.phases.support.wall import PULL_DOWN

__all__ = ["COMMANDS"]


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
    return [sh("rm -rf --one-file-system @{path}", path=path) for path in change.things]


def _remove_images(change: Change, remains: Remains) -> list[Script]:
    return [sh("docker rmi -f @{tags} >/dev/null", tags=change.things)]


def _set_back(change: Change, remains: Remains) -> list[Script]:
    script = [
        sh(
            "if [ -e @{before} ]; then mv -f @{before} @{settings}; else rm -f @{settings}; fi",
            before=f"{_SETTINGS}.before-swarmbook",
            settings=_SETTINGS,
        ),
        sh("rm -rf @{files}", files=ENGINE_FILES[:2]),
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
            *(_empty(folder) for folder in emptied),
            sh("rmdir /opt/containerd 2>/dev/null || true"),
            _UNDO_NETWORK,
        ]
    return [lines(*script)]


def _empty(folder: str) -> Script:
    """Empty a folder of an engine; what is mounted below it, and not by the engine, ends this before anything goes."""
    return sh(
        """left=$(findmnt -rn -o TARGET | awk -v below=@{below} 'index($0, below) == 1')
[ -z "$left" ] || { echo "still mounted: $left" >&2; exit 1; }
btrfs subvolume delete @{folder}/btrfs/subvolumes/* >/dev/null 2>&1 || true
[ ! -d @{folder} ] || find @{folder} -xdev -mindepth 1 -delete""",
        below=f"{folder}/",
        folder=folder,
    )


def _remove_files(change: Change, remains: Remains) -> list[Script]:
    return [sh("rm -rf @{files}", files=change.things)]


def _remove_wall(change: Change, remains: Remains) -> list[Script]:
    return [PULL_DOWN]


def _undo_layout(change: Change, remains: Remains) -> list[Script]:
    commands = list(layouts.undo_commands(change.things[0]))
    # One that ran before the book came is still enabled, and goes on upon the first disk.
    commands.append(
        sh("if systemctl is-enabled -q docker.service 2>/dev/null; then systemctl start docker.service; fi")
    )
    return commands


def _remove_packages(change: Change, remains: Remains) -> list[Script]:
    # What was approved, and no more, even if more could go by now.
    packages = [package for package in remains.packages if package in change.things]
    return [removal(remains.family, packages, remains.kept, [file for file in remains.lists if file in change.things])]


#: In the order of a plan. The layout comes last: until then its disk is found again.
COMMANDS: Mapping[Action, Callable[[Change, Remains], list[Script]]] = {
    Action.LEAVE_SWARM: _leave,
    Action.REMOVE_CONTAINERS: _remove_containers,
    Action.REMOVE_VOLUMES: _remove_volumes,
    Action.REMOVE_DATA: _remove_data,
    Action.REMOVE_IMAGES: _remove_images,
    Action.SET_BACK_ENGINE: _set_back,
    Action.REMOVE_FILES: _remove_files,
    Action.REMOVE_WALL: _remove_wall,
    Action.UNDO_LAYOUT: _undo_layout,
    Action.REMOVE_PACKAGES: _remove_packages,
}
