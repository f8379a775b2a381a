"""Phase 02, second half: the second disk, laid out and mounted under the engine's data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swarmbook.access.hosts import Host
from swarmbook.base.codes import Code
from swarmbook.base.errors import ForeignData, WorldError
from swarmbook.book.book import Book, Change, StepResult, converge
from swarmbook.model.checks import Check, equal
from swarmbook.params import ParamView
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.post_provision.disk_probe import Disk, ask, gib
from swarmbook.phases.post_provision.layouts import LAYOUTS, PHYSICAL, POOL, Layout
from swarmbook.phases.support.engine_data import MOUNT_POINT, devicemapper_in
from swarmbook.phases.support.systems import ENGINE_PACKAGES

__all__ = ["lay_out", "plan_disks"]


def _named(book: Book) -> dict[str, str]:
    """The disk of each node: the parameter's, else the one that the provider says; empty where it has to be found."""
    return {
        node.name: node.disk if book.params.docker_disk == "auto" else book.params.docker_disk for node in book.nodes
    }


def _suppose(book: Book, seen: Mapping[str, Disk] | None) -> Mapping[str, Disk]:
    return {
        name: (seen or {}).get(name) or Disk(device or "the second disk", size=1)
        for name, device in _named(book).items()
    }


def _observe(book: Book) -> Mapping[str, Disk]:
    named = _named(book)
    # The engine's version costs a question, and only one layout depends on it.
    engine = ENGINE_PACKAGES[book.params.docker_source] if book.params.storage_layout == "lvm-thin" else ""
    if book.params.storage_layout == "existing":  # nothing is looked for where nothing is touched
        return book.fleet.each(lambda host: replace(ask(host, named[host.name] or "/dev/null"), device=""))
    return book.fleet.each(lambda host: ask(host, named[host.name], engine))


def plan_disks(params: ParamView, seen: Mapping[str, Disk]) -> list[Change]:
    """Changes that bring every disk to its layout.

    Raises:
        WorldError: A disk is not there or cannot be told from others, or the kernel or the engine cannot carry the layout.
        ForeignData: A disk holds data that is not ours, and its node is not named in ``wipe_disks``; or something lies under the
            mount point.
    """
    if params.storage_layout == "existing":
        return []
    return [change for name, disk in seen.items() for change in _plan(params, name, disk)]


def _plan(params: ParamView, name: str, disk: Disk) -> list[Change]:
    _there(name, disk)
    layout = _layout(params, name, disk)
    data: dict[str, Any] = {"disk": disk.device, "layout": layout.name}
    changes = []
    bare = disk.bare
    content = disk.content
    if content and layout not in layouts.matching(content):
        _may_be_wiped(params, name, disk)
        changes.append(Change(name, "wipe", f"{disk.device} wiped ({layouts.told(content)})", data, word="DESTROY"))
        content = ()
    elif content and content[0] != layouts.TABLE:  # as it was made where no partitions could be had, and good enough
        bare = True
    done = layouts.finished(content)
    missing = layout.on(bare)[len(done) :]
    data |= {"bare": bare}
    if missing:
        _can_carry(params, name, disk, layout, bare)
        what = f": {layouts.told(missing)}" if len(layout.on(bare)) > 1 else ""
        detail = f"{layout.name} {'finished' if content else 'made'} on {disk.device}{what}"
        if disk.kernel is None and params.storage_layout == "auto":
            detail = f"{disk.device} laid out as its kernel allows: lvm-btrfs, lvm-xfs or btrfs"
        changes.append(Change(name, "make", detail, {**data, "layers": list(missing)}))
    if not layout.options:
        return changes
    if missing or not disk.options:
        if disk.occupied:
            raise ForeignData(
                f"{MOUNT_POINT} on {name} holds files on the first disk; mounting over it would hide them",
                where=f"{name}: {MOUNT_POINT}",
                wanted="an empty folder",
                next=f"an engine has run there: take it away, or move its data: swarmbook ssh {name}",
            )
        changes.append(Change(name, "mount", f"mounted at {MOUNT_POINT}", {**data, "how": "mount"}))
    elif not set(layout.options.split(",")) <= set(disk.options.split(",")):
        changes.append(Change(name, "options", f"mounted with {layout.options}", {**data, "how": "remount"}))
    elif disk.fstab != _fstab(layout):
        changes.append(
            Change(
                name,
                "fstab",
                f"entered in fstab with {_fstab(layout)}" if disk.fstab else "entered in fstab",
                {**data, "how": ""},
            )
        )
    elif not disk.guard:
        changes.append(Change(name, "fstab", "engine held back until the disk is mounted", {**data, "how": ""}))
    return changes


def _fstab(layout: Layout) -> str:
    return f"{layout.options},nofail"


def _there(name: str, disk: Disk) -> None:
    if not disk.device:
        listed = "\n".join(disk.others) or "no disk at all"
        raise WorldError(
            f"which disk of {name} is the second one cannot be told; nothing was touched",
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


def _layout(params: ParamView, name: str, disk: Disk) -> Layout:
    every = frozenset().union(*(layout.needs for layout in LAYOUTS.values()))
    layout = layouts.choose(params.storage_layout, tuple(every) if disk.kernel is None else disk.kernel, disk.content)
    if layout is None:
        raise WorldError(
            f"the kernel of {name} can carry no layout",
            where=name,
            wanted="btrfs, or device-mapper and xfs",
            seen=" ".join(disk.kernel or ()) or "none of btrfs, xfs, dm",
            next=f"mount a file system at {MOUNT_POINT} yourself, and set storage_layout: existing",
        )
    return layout


def _can_carry(params: ParamView, name: str, disk: Disk, layout: Layout, bare: bool) -> None:
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


def _may_be_wiped(params: ParamView, name: str, disk: Disk) -> None:
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
        seen=f"{layouts.told(disk.content)}{mounted}",
        next=f"look at it: swarmbook ssh {name} lsblk -f; if it may go: wipe_disks: [{name}] in the parameters",
        code=Code.DISK_NOT_EMPTY,
    )


def _apply(book: Book, seen: Mapping[str, Disk], changes: list[Change]) -> None:
    def commands(change: Change) -> list[str]:
        disk, layout, bare = change.data["disk"], LAYOUTS[change.data["layout"]], change.data["bare"]
        if change.action == "wipe":
            return layouts.wipe_commands(disk)
        if change.action == "make":
            return layouts.make_commands(layout, disk, change.data["layers"], bare)
        return layouts.mount_commands(layout, disk, bare, change.data["how"])

    by_host: dict[str, list[Change]] = {}
    for change in changes:
        by_host.setdefault(change.host, []).append(change)

    def one(host: Host) -> None:
        for change in by_host[host.name]:
            for command in commands(change):
                host.run(command, timeout_s=book.params.wait_timeout)

    book.fleet.each(one, by_host)


def _verify(params: ParamView, seen: Mapping[str, Disk]) -> list[Check]:
    rows: list[Check] = []
    for name, disk in seen.items():
        if params.storage_layout == "existing":
            rows.append(Check(name, f"under {MOUNT_POINT}", "left alone", disk.under, True))
            continue
        layout = _layout(params, name, disk)
        bare = disk.content == layout.layers[1:]
        rows.append(
            equal(
                name,
                f"{layout.name} on {disk.device} ({gib(disk.size)})",
                layouts.told(layout.on(bare)),
                layouts.told(disk.content),
            )
        )
        if layout.options:
            rows += [
                equal(
                    name,
                    "mounted at",
                    MOUNT_POINT,
                    MOUNT_POINT if disk.options else "nowhere" if not disk.mounts else ", ".join(disk.mounts),
                ),
                Check(
                    name,
                    "mount options",
                    layout.options,
                    disk.options,
                    set(layout.options.split(",")) <= set(disk.options.split(",")),
                ),
                Check(
                    name,
                    "in fstab by UUID",
                    disk.uuid,
                    disk.uuid if disk.fstab == _fstab(layout) else disk.fstab or "no",
                    disk.fstab == _fstab(layout),
                ),
                Check(name, "engine waits for it", "yes", "yes" if disk.guard else "no", disk.guard),
            ]
    return rows


def lay_out(book: Book) -> StepResult:
    """Lay out the second disk and mount it at ``/var/lib/docker``.

    Raises:
        WorldError: A disk is not there or cannot be told from others, or the node cannot carry the layout.
        ForeignData: A disk holds data that is not ours; nothing was touched on any node.
        ConfirmationMissing: A disk is to be wiped, and the parameter ``confirm`` is not ``DESTROY``.
    """
    return converge(
        book, observe=_observe, plan=plan_disks, apply=_apply, verify=_verify, what="second disk", suppose=_suppose
    )
