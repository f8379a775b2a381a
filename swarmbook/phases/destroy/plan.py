"""What goes, and what stays; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.model.change import Action, Change, Word
from swarmbook.model.health import EngineBefore
from swarmbook.phases.destroy.remains import HELD, RECORD, Remains
from swarmbook.phases.post_provision.disk_probe import Disk
from swarmbook.phases.support.engine_data import MOUNT_POINT
from swarmbook.phases.support.wall import FILES, TABLE

__all__ = ["engine_stays", "plan_destroy", "refuse_blind", "refuse_mounted", "refuse_taken"]


def refuse_mounted(host: str, remains: Remains) -> None:
    """Refuse to empty an engine's folders while something is mounted below them: it would be emptied with them."""
    if remains.mounts and _before(remains).ours:
        raise WorldError(
            f"another file system is mounted below the engine's folders on {host}; nothing was removed",
            where=host,
            wanted=f"nothing mounted below {', '.join(HELD)} but by the engine",
            seen=", ".join(remains.mounts),
            next=f"swarmbook ssh {host} umount {remains.mounts[0]}; then run 90 again",
        )


def refuse_taken(host: str, disk: Disk) -> None:
    """Refuse to take away the layout of a disk while something else is mounted in its place: that would have to go first."""
    if disk.taken:
        raise WorldError(
            f"something else is mounted at {MOUNT_POINT} on {host}; nothing was removed",
            where=f"{host}: {MOUNT_POINT}",
            wanted="the book's own file system, or nothing",
            seen=disk.taken,
            next=f"swarmbook ssh {host} umount {MOUNT_POINT}; or leave the layout: undo_storage: false",
            code=Code.MOUNT_POINT_TAKEN,
        )


def refuse_blind(host: str, remains: Remains) -> None:
    """Refuse to go on where an engine that holds other things does not run: nothing says what in it is the book's."""
    # What comes before the engine is set back has taken the book's things out of it; the record alone is left then.
    if remains.up or set(remains.files) <= {RECORD} or _before(remains).ours:
        return
    raise WorldError(
        f"the engine on {host} does not run, so what the book put into it cannot be listed; nothing was removed",
        where=host,
        wanted="a running engine: it held other things before the book came, and they stay",
        seen="docker.service is not active",
        next=f"swarmbook ssh {host} systemctl start docker; its log: swarmbook ssh {host} journalctl -u docker -n 50",
    )


def _before(remains: Remains) -> EngineBefore:
    """Return what the engine is set back to: what it was, or what keeps that which has come into it since.

    Without a record it is taken for one that held other things.
    """
    before = remains.before or EngineBefore.RUNNING
    if before.ours and remains.theirs:
        return EngineBefore.RUNNING if remains.running else EngineBefore.HELD
    return before


def engine_stays(remains: Remains) -> str:
    """Say why a node's engine stays installed; empty where it need not."""
    if not set(remains.files) - {RECORD} and remains.before is None:
        return "" if not remains.theirs else "with what is in it"
    if _before(remains) is EngineBefore.ABSENT:
        return ""
    return "with what is in it" if remains.theirs else "since it was there before"


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
            changes.append(Change(host, Action.SET_BACK_ENGINE, (before.value, *(HELD if before.ours else ()))))
            changes.append(Change(host, Action.REMOVE_FILES, remains.files))
        if remains.wall:  # not before all is gone that it stands before
            changes.append(Change(host, Action.REMOVE_WALL, (TABLE, *FILES)))
        if remains.disk:
            changes.append(Change(host, Action.UNDO_LAYOUT, (remains.disk, *remains.layers, *remains.theirs)))
        if remains.family:  # what undoes all of the above is among them
            stay = "; ".join(f"{package} stays, {why}" for package, why in remains.needed)
            changes.append(Change(host, Action.REMOVE_PACKAGES, (*remains.packages, *remains.lists), because=stay))
    return [replace(change, word=Word.DESTROY) for change in changes]
