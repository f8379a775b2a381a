"""Phase 02: system update, packages, and the second disk under the engine's data.

A layout is a name and three functions: what it needs installed, the commands that make it, and how to recognise it.
``btrfs`` is the one that is there; LVM layouts stand beside it in :data:`LAYOUTS`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .book import Book, Change, StepResult, converge
from .checks import Check, equal
from .errors import ForeignData, WorldError
from .hosts import Host
from .params import ParamView

__all__ = ["LAYOUTS", "Disk", "System", "disks", "plan_disks", "plan_system", "system"]

MOUNT_POINT = "/var/lib/docker"
_APT = "DEBIAN_FRONTEND=noninteractive apt-get"


@dataclass(frozen=True)
class Layout:
    """How a disk is laid out.

    Args:
        filesystem: Its type, as ``blkid`` and ``mount`` name it.
        packages: What has to be installed for it.
        make: Commands that make it on ``{disk}``, leaving the file system on ``{device}``.
        options: Mount options.
    """

    filesystem: str
    packages: tuple[str, ...]
    make: tuple[str, ...]
    options: str


LAYOUTS: Mapping[str, Layout] = {
    "btrfs": Layout("btrfs", ("btrfs-progs",), ("mkfs.btrfs -q -f -L docker {disk}",), "noatime"),
}


# -- the system ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """What a node has installed of what is wanted."""

    missing: tuple[str, ...]
    updates: int


def wanted_packages(params: ParamView) -> tuple[str, ...]:
    """Packages that phase 02 wants: the layout's and the parameters'."""
    return tuple(dict.fromkeys([*LAYOUTS[params.storage_layout].packages, "ca-certificates", *params.packages]))


def _suppose_system(book: Book, seen: Mapping[str, System] | None) -> Mapping[str, System]:
    missing = tuple(wanted_packages(book.params))
    return {name: (seen or {}).get(name) or System(missing, int(book.params.system_update)) for name in book.params.nodes}


def _observe_system(book: Book) -> Mapping[str, System]:
    wanted = wanted_packages(book.params)
    script = "dpkg-query -W -f '${Package} ${db:Status-Status}\\n' " + " ".join(map(shlex.quote, wanted)) + " 2>/dev/null || true"
    if book.params.system_update:
        fresh = f"{_APT} update -qq >/dev/null && " if book.prospect is None else ""  # a plan goes by the lists that are there
        script += f"\n{fresh}apt-get -s upgrade | grep -c '^Inst' | sed 's/^/updates: /' || true"

    def one(host: Host) -> System:
        lines = host.run(script, timeout_s=book.params.wait_timeout).stdout.splitlines()
        have = {line.split()[0] for line in lines if line.endswith(" installed")}
        updates = next((int(line.split()[1]) for line in lines if line.startswith("updates: ")), 0)
        return System(tuple(p for p in wanted if p not in have), updates)

    return book.fleet.each(one)


def plan_system(params: ParamView, seen: Mapping[str, System]) -> list[Change]:
    """Changes that bring packages and updates to what is wanted."""
    changes = []
    for name, system in seen.items():
        if system.updates and params.system_update:
            changes.append(Change(name, "update", f"{system.updates} packages updated"))
        if system.missing:
            changes.append(Change(name, "install", f"installed {' '.join(system.missing)}", {"packages": list(system.missing)}))
    return changes


def system(book: Book) -> StepResult:
    """Bring the system up to date (when asked) and install what is missing."""

    def apply(book: Book, seen: Mapping[str, System], changes: list[Change]) -> None:
        by_host: dict[str, list[Change]] = {}
        for change in changes:
            by_host.setdefault(change.host, []).append(change)

        def one(host: Host) -> None:
            for change in by_host[host.name]:
                if change.action == "update":
                    host.run(f"{_APT} upgrade -y -q", timeout_s=book.params.wait_timeout)
                else:
                    names = " ".join(map(shlex.quote, change.data["packages"]))
                    host.run(f"{_APT} update -qq && {_APT} install -y -q --no-install-recommends {names}", timeout_s=book.params.wait_timeout)

        book.fleet.each(one, by_host)

    def verify(params: ParamView, seen: Mapping[str, System]) -> list[Check]:
        wanted = " ".join(wanted_packages(params))
        rows = []
        for name, state in seen.items():
            rows.append(Check(name, "packages", wanted, f"missing: {' '.join(state.missing)}" if state.missing else wanted, not state.missing))
            if params.system_update:
                rows.append(equal(name, "updates waiting", 0, state.updates))
        return rows

    return converge(book, observe=_observe_system, plan=plan_system, apply=apply, verify=verify, what="system packages", suppose=_suppose_system)


# -- the disk --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disk:
    """A node's second disk as it is.

    Args:
        device: Path of the disk, as given (by-id where there is one).
        size: Bytes; 0 when there is no such disk.
        content: What ``blkid`` says is on it: a file system type, a partition table type, or nothing.
        label: Label of the file system.
        uuid: Its UUID.
        mounted: Where it is mounted, or nothing.
        at_mount_point: UUID of what is mounted at the mount point, or nothing.
        options: Options it is mounted with.
        in_fstab: Whether fstab mounts this UUID there.
        occupied: Whether the mount point holds files while nothing is mounted on it.
    """

    device: str
    size: int = 0
    content: str = ""
    label: str = ""
    uuid: str = ""
    mounted: str = ""
    at_mount_point: str = ""
    options: str = ""
    in_fstab: bool = False
    occupied: bool = False


def _probe(device: str) -> str:
    disk = shlex.quote(device)
    return f"""
disk={disk}; at={MOUNT_POINT}
real=$(readlink -f "$disk")
[ -b "$real" ] || {{ echo '{{}}'; exit 0; }}
uuid=$(blkid -p -o value -s UUID "$real" 2>/dev/null)
[ -n "$uuid" ] && grep -Eq "^UUID=$uuid[[:space:]]+$at[[:space:]]" /etc/fstab && fstab=true || fstab=false
mountpoint -q "$at" || {{ [ -n "$(ls -A "$at" 2>/dev/null)" ] && occupied=true; }}
cat <<END
{{"size": $(blockdev --getsize64 "$real"),
 "content": "$(blkid -p -o value -s TYPE "$real" 2>/dev/null || true)$(blkid -p -o value -s PTTYPE "$real" 2>/dev/null || true)",
 "label": "$(blkid -p -o value -s LABEL "$real" 2>/dev/null)", "uuid": "$uuid",
 "mounted": "$(findmnt -n -o TARGET --source "$real" 2>/dev/null | head -n 1)",
 "at_mount_point": "$(findmnt -n -o UUID --mountpoint "$at" 2>/dev/null)",
 "options": "$(findmnt -n -o OPTIONS --mountpoint "$at" 2>/dev/null)",
 "in_fstab": $fstab, "occupied": ${{occupied:-false}}}}
END
"""


def _suppose_disks(book: Book, seen: Mapping[str, Disk] | None) -> Mapping[str, Disk]:
    devices = {node.name: node.disk if book.params.docker_disk == "auto" else book.params.docker_disk for node in book.nodes}
    return {name: (seen or {}).get(name) or Disk(device, size=1) for name, device in devices.items()}


def _observe_disks(book: Book) -> Mapping[str, Disk]:
    def one(host: Host) -> Disk:
        device = host.node.disk if book.params.docker_disk == "auto" else book.params.docker_disk
        data: dict[str, Any] = json.loads(host.run(_probe(device)).stdout)
        return Disk(device, **data)

    return book.fleet.each(one)


def plan_disks(params: ParamView, seen: Mapping[str, Disk]) -> list[Change]:
    """Changes that bring every disk to its layout.

    Raises:
        WorldError: A disk is not there, or something lies under the mount point.
        ForeignData: A disk holds data that is not ours, and its node is not named in ``wipe_disks``.
    """
    layout = LAYOUTS[params.storage_layout]
    changes = []
    for name, disk in seen.items():
        if not disk.size:
            raise WorldError(
                "the second disk is not there",
                where=name,
                wanted=f"a block device {disk.device or '(none named)'}",
                next="name it: docker_disk in the parameters",
            )
        ours = disk.content == layout.filesystem and disk.label == "docker"
        if not ours:
            if disk.content or disk.mounted:
                if name not in params.wipe_disks:
                    raise ForeignData(
                        f"the second disk of {name} holds data that is not ours; nothing was touched",
                        where=f"{name}: {disk.device}",
                        wanted="an empty disk",
                        seen=f"{disk.content} {disk.label} {disk.uuid}".strip() + (f", mounted at {disk.mounted}" if disk.mounted else ""),
                        next=f"look at it: swarmbook ssh {name} lsblk -f; if it may go: wipe_disks: [{name}] in the parameters",
                    )
                changes.append(Change(name, "wipe", f"{disk.device} wiped ({disk.content})", {"disk": disk.device, "mounted": disk.mounted}, word="DESTROY"))
            changes.append(Change(name, "make", f"{layout.filesystem} made on {disk.device}", {"disk": disk.device}))
        if not ours or disk.mounted != MOUNT_POINT:
            if disk.occupied:
                raise ForeignData(
                    f"{MOUNT_POINT} on {name} holds files on the first disk; mounting over it would hide them",
                    where=f"{name}: {MOUNT_POINT}",
                    wanted="an empty folder",
                    next=f"an engine has run there: take it away, or move its data: swarmbook ssh {name}",
                )
            changes.append(Change(name, "mount", f"mounted at {MOUNT_POINT}", {"disk": disk.device}))
        elif not disk.in_fstab:
            changes.append(Change(name, "fstab", "entered in fstab", {"disk": disk.device}))
    return changes


def _apply_disks(book: Book, seen: Mapping[str, Disk], changes: list[Change]) -> None:
    layout = LAYOUTS[book.params.storage_layout]

    def commands(change: Change) -> list[str]:
        disk = shlex.quote(change.data["disk"])
        if change.action == "wipe":
            unmount = [f"umount {shlex.quote(change.data['mounted'])}"] if change.data["mounted"] else []
            return [*unmount, f"wipefs -a -q {disk}"]
        if change.action == "make":
            return [command.format(disk=disk) for command in layout.make]
        # Read after the file system was made; by UUID, since device names change from boot to boot.
        fstab = [
            f"uuid=$(blkid -p -o value -s UUID $(readlink -f {disk}))",
            f"sed -i '\\#[[:space:]]{MOUNT_POINT}[[:space:]]#d' /etc/fstab",
            f'echo "UUID=$uuid {MOUNT_POINT} {layout.filesystem} {layout.options} 0 0" >> /etc/fstab',
        ]
        if change.action == "fstab":
            return ["\n".join(fstab)]
        return ["\n".join([*fstab, f"mkdir -p {MOUNT_POINT}", f"mount {MOUNT_POINT}"])]

    by_host: dict[str, list[Change]] = {}
    for change in changes:
        by_host.setdefault(change.host, []).append(change)

    def one(host: Host) -> None:
        for change in by_host[host.name]:
            for command in commands(change):
                host.run(command)

    book.fleet.each(one, by_host)


def _verify_disks(params: ParamView, seen: Mapping[str, Disk]) -> list[Check]:
    layout = LAYOUTS[params.storage_layout]
    rows = []
    for name, disk in seen.items():
        size = f"{disk.size / 2**30:.0f} GiB"
        rows += [
            equal(name, f"file system on {disk.device} ({size})", f"{layout.filesystem} docker", f"{disk.content} {disk.label}"),
            equal(name, "mounted at", MOUNT_POINT, disk.mounted or "nowhere"),
            Check(name, "mount options", layout.options, disk.options, set(layout.options.split(",")) <= set(disk.options.split(","))),
            Check(name, "in fstab by UUID", disk.uuid, disk.uuid if disk.in_fstab else "no", disk.in_fstab),
        ]
    return rows


def disks(book: Book) -> StepResult:
    """Lay out the second disk and mount it at ``/var/lib/docker``.

    Raises:
        ForeignData: A disk holds data that is not ours; nothing was touched on any node.
        ConfirmationMissing: A disk is to be wiped, and the parameter ``confirm`` is not ``DESTROY``.
    """
    return converge(book, observe=_observe_disks, plan=plan_disks, apply=_apply_disks, verify=_verify_disks, what="second disk", suppose=_suppose_disks)
