"""Phase 02, second half: the second disk, laid out and mounted under the engine's data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from swarmbook.access.commands import Script
from swarmbook.access.hosts import Host
from swarmbook.base.codes import Code
from swarmbook.base.errors import ForeignData, WaitTimeout, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Word, by_host, refuse_unknown
from swarmbook.model.checks import Check, equal
from swarmbook.params import Params
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.post_provision.disk_probe import Disk, gib, second_disk
from swarmbook.phases.post_provision.layouts import LAYOUTS, PHYSICAL, POOL, Layout
from swarmbook.phases.support.engine_data import MOUNT_POINT, devicemapper_in
from swarmbook.phases.support.systems import ENGINE_PACKAGES
from swarmbook.show.changes import layers_in_words

__all__ = ["COMMANDS", "Target", "Wanted", "lay_out", "wanted_disks"]


#: Seconds for which a named disk may not be there yet.
_SETTLE_S = 10


@dataclass(frozen=True)
class Target:
    """How one node's disk should be.

    Args:
        layout: What it gets.
        bare: Whether the file system lies on the whole of it, without a partition.
        layers: What is missing, from below.
        wipe: It has to be emptied first.
    """

    layout: Layout
    bare: bool
    layers: tuple[str, ...]
    wipe: bool = False


@dataclass(frozen=True)
class Wanted:
    """How every disk should be; no target where the disks are left alone (``storage_layout: existing``)."""

    params: Params
    targets: Mapping[str, Target] = field(default_factory=dict)


def _named(book: Book) -> dict[str, str]:
    """Return the disk of each node: the parameter's, else the provider's; empty where it has to be found."""
    chosen = book.params.docker_disk
    return {node.name: node.disk if chosen == "auto" else chosen for node in book.nodes}


class LayOut(Step[Mapping[str, Disk], Wanted]):
    """Lay out the second disk and mount it at ``/var/lib/docker``.

    Raises:
        WorldError: A disk is missing or cannot be identified, or the node cannot carry the layout.
        ForeignData: A disk holds data that is not ours, and its node is not named in ``wipe_disks``; or something lies
            under the mount point. Nothing was touched on any node.
        ConfirmationMissing: A disk is to be wiped, and the parameter ``confirm`` is not ``DESTROY``.
    """

    name = "second disk"

    def observe(self, book: Book) -> Mapping[str, Disk]:
        named = _named(book)
        # The engine's version costs a question, and only one layout depends on it.
        engine = ENGINE_PACKAGES[book.params.docker_source] if book.params.storage_layout == "lvm-thin" else ""
        if book.params.storage_layout == "existing":  # nothing is looked for where nothing is touched

            def left_alone(host: Host) -> Disk:
                return replace(host.ask(second_disk(named[host.name] or "/dev/null")), device="")

            return book.fleet.each(left_alone)
        return book.fleet.each(lambda host: _named_disk(host, named[host.name], engine))

    def want(self, book: Book, seen: Mapping[str, Disk]) -> Wanted:
        return wanted_disks(book.params, seen)

    def plan(self, wanted: Wanted, seen: Mapping[str, Disk]) -> list[Change]:
        return [
            change
            for name, target in wanted.targets.items()
            for change in _plan(wanted.params, name, target, seen[name])
        ]

    def apply(self, book: Book, wanted: Wanted, seen: Mapping[str, Disk], changes: list[Change]) -> None:
        refuse_unknown(changes, COMMANDS)
        hosts = by_host(changes)

        def one(host: Host) -> None:
            for change in hosts[host.name]:
                for command in COMMANDS[change.action](wanted.targets[host.name], change):
                    host.run(command, timeout_s=book.params.wait_timeout)

        book.fleet.each(one, hosts)

    def verify(self, wanted: Wanted, seen: Mapping[str, Disk]) -> list[Check]:
        rows: list[Check] = []
        for name, disk in seen.items():
            if name not in wanted.targets:
                rows.append(Check(name, f"under {MOUNT_POINT}", "left alone", disk.under, True))
                continue
            layout = wanted.targets[name].layout
            bare = disk.content == layout.layers[1:]
            rows.append(
                equal(
                    name,
                    f"{layout.name} on {disk.device} ({gib(disk.size)})",
                    layers_in_words(layout.on(bare)),
                    layers_in_words(disk.content, disk.unfinished),
                )
            )
            if layout.options:
                rows += _mounted(name, layout, disk)
        return rows

    def assume(self, ahead: Forecast, params: Params, seen: Mapping[str, Disk] | None) -> Mapping[str, Disk]:
        device = "the second disk" if params.docker_disk == "auto" else params.docker_disk
        return {name: (seen or {}).get(name) or Disk(device, size=1) for name in params.nodes}


lay_out = LayOut()


def wanted_disks(params: Params, seen: Mapping[str, Disk]) -> Wanted:
    """Return how the disks should be.

    Raises:
        WorldError: A disk is missing or cannot be identified, or the kernel or the engine cannot carry the layout.
        ForeignData: A disk holds data that is not ours, and its node is not named in ``wipe_disks``.
    """
    if params.storage_layout == "existing":
        return Wanted(params)
    return Wanted(params, {name: _target(params, name, disk) for name, disk in seen.items()})


def _target(params: Params, name: str, disk: Disk) -> Target:
    _there(name, disk)
    layout = _layout(params, name, disk)
    bare, content, unfinished = disk.bare, disk.content, disk.unfinished
    wipe = bool(content) and layout not in layouts.matching(content)
    if wipe:
        _may_be_wiped(params, name, disk)
        content, unfinished = (), False
    elif content and content[0] != layouts.TABLE:  # as it was made where no partitions could be had, and good enough
        bare = True
    missing = layout.on(bare)[len(layouts.finished(content, unfinished)) :]
    if missing:
        _can_carry(params, name, disk, layout, bare)
    return Target(layout, bare, missing, wipe)


def _plan(params: Params, name: str, target: Target, disk: Disk) -> list[Change]:
    layout, device = target.layout, disk.device
    changes = []
    if target.wipe:
        changes.append(Change(name, Action.WIPE_DISK, (device, *disk.content), Word.DESTROY))
    if target.layers:
        things: tuple[str, ...] = (device, layout.name, *target.layers)
        if disk.kernel is None and params.storage_layout == "auto":
            things = (device,)  # which layout that is says its kernel
        begun = bool(disk.content) and not target.wipe
        changes.append(Change(name, Action.LAY_OUT, things, because="finished" if begun else ""))
    if not layout.options:
        return changes
    if disk.entered:
        raise ForeignData(
            f"fstab of {name} mounts something else at {MOUNT_POINT}; that line is not ours to change",
            where=f"{name}: /etc/fstab",
            wanted=f"no line for {MOUNT_POINT}, or ours",
            seen=disk.entered,
            next=f"remove the line, if that disk is not needed there: swarmbook ssh {name}; or keep it: storage_layout: existing",
            code=Code.MOUNT_POINT_TAKEN,
        )
    if target.layers or not disk.options:
        if disk.taken:
            raise ForeignData(
                f"something else is mounted at {MOUNT_POINT} on {name}; mounting over it would hide what it holds",
                where=f"{name}: {MOUNT_POINT}",
                wanted="nothing mounted there, or our file system",
                seen=disk.taken,
                next=f"unmount it, if it is not needed there: swarmbook ssh {name} umount {MOUNT_POINT}; or keep it: storage_layout: existing",
                code=Code.MOUNT_POINT_TAKEN,
            )
        if disk.occupied:
            raise ForeignData(
                f"{MOUNT_POINT} on {name} holds files on the first disk; mounting over it would hide them",
                where=f"{name}: {MOUNT_POINT}",
                wanted="an empty folder",
                next=f"an engine has run there: take it away, or move its data: swarmbook ssh {name}",
            )
        changes.append(Change(name, Action.MOUNT, (device, MOUNT_POINT)))
    elif not set(layout.options.split(",")) <= set(disk.options.split(",")):
        changes.append(Change(name, Action.REMOUNT, (device, layout.options)))
    elif disk.fstab != _fstab(layout):
        changes.append(Change(name, Action.FSTAB, (device, _fstab(layout))))
    elif not disk.guard:
        changes.append(Change(name, Action.GUARD, (device,)))
    return changes


# -- the commands of each change: the disk that was approved is the one that is named ----------------------------------


def _wipe(target: Target, change: Change) -> list[Script]:
    return layouts.wipe_commands(change.things[0])


def _make(target: Target, change: Change) -> list[Script]:
    device, *rest = change.things
    # A plan that was made before the kernel could be asked names the device alone; by now it is asked.
    layers = tuple(rest[1:]) or target.layers
    return layouts.make_commands(target.layout, device, layers, target.bare)


def _mount(target: Target, change: Change) -> list[Script]:
    return layouts.mount_commands(target.layout, change.things[0], target.bare, "mount")


def _remount(target: Target, change: Change) -> list[Script]:
    return layouts.mount_commands(target.layout, change.things[0], target.bare, "remount")


def _enter(target: Target, change: Change) -> list[Script]:
    return layouts.mount_commands(target.layout, change.things[0], target.bare, "")


COMMANDS: Mapping[Action, Callable[[Target, Change], list[Script]]] = {
    Action.WIPE_DISK: _wipe,
    Action.LAY_OUT: _make,
    Action.MOUNT: _mount,
    Action.REMOUNT: _remount,
    Action.FSTAB: _enter,
    Action.GUARD: _enter,
}


def _mounted(name: str, layout: Layout, disk: Disk) -> list[Check]:
    options = layout.options.split(",")
    at = MOUNT_POINT if disk.options else ", ".join(disk.mounts) or "nowhere"
    entered = disk.fstab == _fstab(layout)
    return [
        equal(name, "mounted at", MOUNT_POINT, at),
        Check(name, "mount options", layout.options, disk.options, set(options) <= set(disk.options.split(","))),
        Check(name, "in fstab by UUID", disk.uuid, disk.uuid if entered else disk.fstab or "no", entered),
        Check(name, "engine waits for it", "yes", "yes" if disk.guard else "no", disk.guard),
    ]


def _fstab(layout: Layout) -> str:
    return layouts.fstab_options(layout)


def _named_disk(host: Host, device: str, engine: str) -> Disk:
    """Ask for a node's second disk; one that was named and is not there may only just be coming: a machine that has booted tells of its disks one after the other."""
    seen: list[Disk] = []

    def there() -> tuple[bool, str]:
        seen.append(host.ask(second_disk(device, engine)))
        return not device or bool(seen[-1].size), seen[-1].absent

    with contextlib.suppress(WaitTimeout):  # what is wrong, the plan says
        wait_for(f"{device} of {host.name}", there, timeout_s=_SETTLE_S, where=host.name)
    return seen[-1]


def _there(name: str, disk: Disk) -> None:
    if not disk.device:
        listed = "\n".join(disk.others) or "no disk at all"
        raise WorldError(
            f"the second disk of {name} cannot be identified; nothing was touched",
            where=name,
            wanted="exactly one empty disk beside the system's, or one with a layout of ours",
            seen=listed,
            next="name it: docker_disk in the parameters, best by its name below /dev/disk/by-id",
        )
    if not disk.size:
        raise WorldError(
            "the second disk is not there",
            where=name,
            wanted=f"a block device {disk.device}",
            seen=disk.absent or "no such block device",
            next=f"swarmbook ssh {name} lsblk; name it: docker_disk",
        )
    if disk.system:
        raise WorldError(
            f"the disk named for {name} is the one that it runs from; nothing was touched",
            where=f"{name}: {disk.device}",
            wanted="a second disk",
            seen=f"mounted at {', '.join(disk.mounts)}",
            next=f"swarmbook ssh {name} lsblk; name another: docker_disk in the parameters",
        )


def _layout(params: Params, name: str, disk: Disk) -> Layout:
    every = frozenset().union(*(layout.needs for layout in LAYOUTS.values()))
    layout = layouts.choose(
        params.storage_layout, tuple(every) if disk.kernel is None else disk.kernel, disk.content, disk.unfinished
    )
    if layout is None:
        raise WorldError(
            f"the kernel of {name} can carry no layout",
            where=name,
            wanted="btrfs, or device-mapper and xfs",
            seen=" ".join(disk.kernel or ()) or "none of btrfs, xfs, dm",
            next=f"mount a file system at {MOUNT_POINT} yourself, and set storage_layout: existing",
        )
    return layout


def _can_carry(params: Params, name: str, disk: Disk, layout: Layout, bare: bool) -> None:
    """Refuse by name what the node cannot do, before anything is touched anywhere."""
    kernel = layout.needs if disk.kernel is None else frozenset(disk.kernel)
    if lacks := layout.needs - kernel:
        words = {"dm": "device-mapper of its own", "thin": "thin pools (dm_thin_pool)", "btrfs": "btrfs", "xfs": "xfs"}
        fits = [other for other in layouts.AUTO if LAYOUTS[other].needs <= kernel]
        raise WorldError(
            f"the kernel of {name} cannot carry the layout {layout.name}",
            where=name,
            wanted=", ".join(words[word] for word in sorted(layout.needs)),
            seen=f"no {', no '.join(words[word] for word in sorted(lacks))}",
            next=f"storage_layout: {fits[0] if fits else 'existing'}"
            + (", or auto" if fits else f", with a file system at {MOUNT_POINT}"),
        )
    if bare and PHYSICAL in layout.layers:
        raise WorldError(
            f"the kernel of {name} reads no partitions of {disk.device}, and {layout.name} wants one",
            where=f"{name}: {disk.device}",
            wanted="a disk, or a loop device with partition scanning",
            next="storage_layout: btrfs, or losetup --partscan",
        )
    if POOL in layout.layers and disk.kernel is not None and not devicemapper_in(disk.engine):
        raise WorldError(
            f"lvm-thin is for engines that have the devicemapper driver, and that of {name} has none",
            where=name,
            wanted="Docker Engine before 25",
            seen=disk.engine or "none that could be asked for; Docker's repository has newer ones",
            next="storage_layout: lvm-xfs (and storage_driver: overlay2), or an older engine from the system: docker_source: system",
        )


def _may_be_wiped(params: Params, name: str, disk: Disk) -> None:
    if disk.shared:
        raise ForeignData(
            f"the second disk of {name} is part of a volume group that lies on other disks, too; it is not wiped",
            where=f"{name}: {disk.device}",
            seen=f"volume group {disk.shared}",
            next=f"take it out of the group yourself: swarmbook ssh {name} vgreduce {disk.shared}",
        )
    if name in params.wipe_disks:
        return
    mounted = f", mounted at {', '.join(disk.mounts)}" if disk.mounts else ""
    ours = [layout.name for layout in layouts.matching(disk.content)]
    if ours:
        raise ForeignData(
            f"the second disk of {name} carries another layout of ours than {params.storage_layout}; nothing was touched",
            where=f"{name}: {disk.device}",
            wanted=params.storage_layout,
            seen=f"{' or '.join(ours)}{mounted}",
            next=f"keep it: storage_layout: auto; or take it away first, with all that is on it: undo_storage: true, and swarmbook destroy; or wipe_disks: [{name}]",
        )
    raise ForeignData(
        f"the second disk of {name} holds data that is not ours; nothing was touched",
        where=f"{name}: {disk.device}",
        wanted="an empty disk",
        seen=f"{layers_in_words(disk.content, disk.unfinished)}{mounted}",
        next=f"look at it: swarmbook ssh {name} lsblk -f; if it may go: wipe_disks: [{name}] in the parameters",
        code=Code.DISK_NOT_EMPTY,
    )
