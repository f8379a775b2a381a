"""Layouts of the second disk as data: what lies upon what, what each layer needs, and the commands that make it or undo it.

A layout is a stack of layers from the disk upwards. A disk is described the same way (:mod:`swarmbook.phases.post_provision.disk_probe`), so what is left to
do is what the one has above the other: nothing on a finished disk, all of it on an empty one, and the rest where a run was killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarmbook.access.commands import Script, lines, sh
from swarmbook.phases.support.engine_data import MOUNT_POINT

__all__ = [
    "GUARD", "GUARD_FILE", "LAYOUTS", "Layout", "choose", "finished",
    "make_commands", "matching", "mount_commands", "undo_commands", "wipe_commands",
]  # fmt: skip

#: Name of the one partition. It is written together with the table, so a disk is ours from the first byte on.
MARK = "swarmbook-docker"
TABLE = f"gpt:{MARK}"
PHYSICAL = "LVM2_member"
GROUP = "vg:docker"
DATA = "lv:data"
POOL = "lv:thinpool"
BTRFS = "btrfs:docker"
XFS = "xfs:docker"

#: Keeps the engine from starting on the bare folder when the disk did not come up: it would fill the first disk, and come up
#: without its containers. The first line waits for the mount where fstab has made a unit of it; the second holds everywhere.
GUARD_FILE = "/etc/systemd/system/docker.service.d/swarmbook-disk.conf"
GUARD = f"[Unit]\nRequiresMountsFor={MOUNT_POINT}\nAssertPathIsMountPoint={MOUNT_POINT}\n"

_PROFILE = "/etc/lvm/profile/docker-thinpool.profile"


@dataclass(frozen=True)
class Layout:
    """How a disk is laid out.

    Args:
        name: As the parameter ``storage_layout`` has it.
        layers: From the disk upwards.
        needs: What the kernel has to have (words of :attr:`swarmbook.phases.post_provision.disk_probe.Disk.kernel`).
        tools: What has to be installed for it (purposes of :class:`swarmbook.phases.support.systems.Family`).
        options: Mount options; empty where nothing is mounted.
    """

    name: str
    layers: tuple[str, ...]
    needs: frozenset[str]
    tools: tuple[str, ...]
    options: str

    @property
    def filesystem(self) -> str:
        """Type of what is mounted; empty where nothing is."""
        return self.layers[-1].partition(":")[0] if self.options else ""

    def on(self, bare: bool) -> tuple[str, ...]:
        """Return the layers on a disk; a bare one is a device of which the kernel reads no partitions."""
        return self.layers[1:] if bare else self.layers


_LVM = (TABLE, PHYSICAL, GROUP)

#: By name. ``auto`` takes the first of :data:`AUTO` that the kernel can carry.
LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "lvm-btrfs",
            (*_LVM, DATA, BTRFS),
            frozenset({"dm", "btrfs"}),
            ("partitions", "lvm", "btrfs"),
            "noatime,autodefrag",
        ),
        Layout(
            "lvm-xfs", (*_LVM, DATA, XFS), frozenset({"dm", "xfs"}), ("partitions", "lvm", "xfs"), "noatime,prjquota"
        ),
        Layout("btrfs", (TABLE, BTRFS), frozenset({"btrfs"}), ("partitions", "btrfs"), "noatime,autodefrag"),
        Layout("lvm-thin", (*_LVM, POOL), frozenset({"dm", "thin"}), ("partitions", "lvm", "thin"), ""),
    )
}
AUTO = ("lvm-btrfs", "lvm-xfs", "btrfs")


def finished(content: Sequence[str], unfinished: bool = False) -> tuple[str, ...]:
    """Return what of a disk's content is whole.

    Args:
        content: What is on the disk, from below.
        unfinished: Whether its last layer was begun by a run that was killed, or is there and not active.
    """
    return tuple(content[:-1] if unfinished else content)


def matching(content: Sequence[str]) -> list[Layout]:
    """List the layouts that this is, or is the beginning of; none for an empty disk, and none for what is not ours."""
    if not content:
        return []
    layers = tuple(content)
    found = [layout for layout in LAYOUTS.values() if layout.layers[: len(layers)] == layers]
    if layers == (BTRFS,):  # on the whole disk, where the kernel reads no partitions; until 0.1 everywhere
        found.append(LAYOUTS["btrfs"])
    return found


def choose(asked: str, kernel: Sequence[str], content: Sequence[str], unfinished: bool = False) -> Layout | None:
    """Choose the layout for a disk.

    Args:
        asked: The parameter ``storage_layout``, but not ``existing``.
        kernel: What the node's kernel has.
        content: What is on the disk. One of ours is kept, and never laid out again because the kernel is another.
        unfinished: Whether its last layer is not whole.

    Returns:
        The layout; None when ``auto`` finds none that the kernel can carry.
    """
    if asked != "auto":
        return LAYOUTS[asked]
    begun = matching(content)
    can = [layout for layout in map(LAYOUTS.__getitem__, AUTO) if layout.needs <= set(kernel)]
    whole = [layout for layout in begun if finished(content, unfinished) in (layout.layers, layout.layers[1:])]
    return next(iter([*whole, *(layout for layout in can if layout in begun), *begun, *can]), None)


# -- commands --------------------------------------------------------------------------------------------------------

_SETTLE = sh("[ ! -S /run/udev/control ] || udevadm settle --timeout=30")
#: Marks our line in fstab: mount and systemd pass over options that begin with ``x-``.
FSTAB_MARK = "x-swarmbook"
#: Of fstab, our lines of the mount point. Those of earlier versions have no mark, but the UUID of our file system.
_MARKED = rf"\|^[^#]*[[:space:]]{MOUNT_POINT}[[:space:]].*{FSTAB_MARK}|d"


def _real(disk: str) -> Script:
    """Return the shell word for the device behind a path."""
    return sh("$(readlink -f @{disk})", disk=disk)


def _partition(disk: str) -> Script:
    """Return the shell word for the one partition: names differ (sdb1, nvme0n1p1), and the kernel says which it is."""
    return sh("""$(lsblk -nrpo NAME,TYPE @!{disk} | awk '$2 == "part" { print $1; exit }')""", disk=_real(disk))


def where(layout: Layout, disk: str, bare: bool) -> Script:
    """Return the shell word for the device that carries the file system."""
    if DATA in layout.layers:
        return sh("/dev/docker/data")
    return _real(disk) if bare else _partition(disk)


# A file system that is there already is left alone. mkfs.btrfs writes its magic last; mkfs.xfs at once, with a flag at byte 126
# until it is whole. Without -f, both refuse a device on which they find anything. -K: discarding terabytes that hold nothing can
# take longer than any wait.
_MAKE_BTRFS = """device=@!{device}; [ "$(blkid -p -o value -s TYPE "$device")" = btrfs ] || mkfs.btrfs -q -K -L docker "$device\""""
_MAKE_XFS = """device=@!{device}; made() { [ "$(blkid -p -o value -s TYPE "$device")" = xfs ]; }
if made && [ "$(od -An -tu1 -j126 -N1 "$device" | tr -d " ")" = 1 ]; then mkfs.xfs -q -K -f -L docker "$device"; else made || mkfs.xfs -q -K -L docker "$device"; fi"""
# The last part grows the pool while the group has room, as Docker's manual wants it.
_MAKE_POOL = """mkdir -p @{folder}
printf 'activation {\\n  thin_pool_autoextend_threshold=80\\n  thin_pool_autoextend_percent=20\\n}\\n' > @{profile}
case $(lvs --noheadings -o segtype docker/thinpool 2>/dev/null | tr -d ' ') in
  thin-pool) lvchange -q -ay docker/thinpool ;;
  ?*) lvremove -q -y docker/thinpool ;;
esac
lvs docker/thinpool >/dev/null 2>&1 || lvcreate -q -y --type thin-pool -l 95%FREE -c 512K -Z n -n thinpool docker
lvchange -q -y --metadataprofile docker-thinpool docker/thinpool"""


def make_commands(layout: Layout, disk: str, layers: Sequence[str], bare: bool) -> list[Script]:
    """List the commands that put layers onto a disk, one for each layer; each may be repeated.

    Args:
        layout: Of which the layers are.
        disk: Path of the disk.
        layers: What is missing, from below.
        bare: Whether the kernel reads no partitions of it.
    """
    device = where(layout, disk, bare)
    kind = "lvm" if PHYSICAL in layout.layers else "linux"
    commands = {
        TABLE: sh(
            "echo @{table} | sfdisk -q --label gpt --wipe always --wipe-partitions always @!{disk} && @!{settle}",
            table=f"type={kind}, name={MARK}",
            disk=_real(disk),
            settle=_SETTLE,
        ),
        PHYSICAL: sh("pvcreate -q -y @!{partition}", partition=_partition(disk)),
        GROUP: sh("vgcreate -q -y docker @!{partition}", partition=_partition(disk)),
        DATA: sh(
            "if lvs docker/data >/dev/null 2>&1; then lvchange -q -ay docker/data; "
            "else lvcreate -q -y -W y -l 100%FREE -n data docker; fi && @!{settle}",
            settle=_SETTLE,
        ),
        POOL: sh(_MAKE_POOL, folder=_PROFILE.rpartition("/")[0], profile=_PROFILE),
        BTRFS: sh(_MAKE_BTRFS, device=device),
        XFS: sh(_MAKE_XFS, device=device),
    }
    return [commands[layer] for layer in layers]


def fstab_options(layout: Layout) -> str:
    """Return the options of our line in fstab.

    A machine whose second disk is gone still boots (``nofail``), so that a person can log in and look; the engine does not start.
    """
    return f"{layout.options},nofail,{FSTAB_MARK}"


def mount_commands(layout: Layout, disk: str, bare: bool, how: str) -> list[Script]:
    """List the commands that enter the file system in fstab, hold the engine back until it is mounted, and mount it.

    Args:
        layout: The layout.
        disk: Path of the disk.
        bare: Whether the file system lies on the whole of it.
        how: ``mount``, ``remount`` where it is mounted with other options, or nothing.
    """
    script = [
        sh(
            """set -e
uuid=$(blkid -p -o value -s UUID @!{device}) && [ -n "$uuid" ]
sed -i -e @{marked} -e "\\|^UUID=$uuid[[:space:]]*"@{at}"[[:space:]]|d" /etc/fstab
echo "UUID=$uuid "@{entry} >> /etc/fstab
mkdir -p @{at} @{folder}
printf %s @{guard} > @{file}
systemctl daemon-reload""",
            device=where(layout, disk, bare),
            marked=_MARKED,
            entry=f"{MOUNT_POINT} {layout.filesystem} {fstab_options(layout)} 0 0",
            at=MOUNT_POINT,
            folder=GUARD_FILE.rpartition("/")[0],
            guard=GUARD,
            file=GUARD_FILE,
        )
    ]
    if how == "mount":
        script.append(sh("mount @{at}", at=MOUNT_POINT))
    elif how == "remount":  # quotas are switched on at a fresh mount only, and that needs an engine that stands
        script.append(
            sh(
                "systemctl is-active -q docker.service && mount -o @{options} @{at} || { umount @{at} && mount @{at}; }",
                options=f"remount,{layout.options}",
                at=MOUNT_POINT,
            )
        )
    return [lines(*script)]


#: Signatures go from above to below, and the table last: as long as anything is left, the disk is still known. While udev looks at a
#: partition, the kernel does not forget it.
_EMPTY = sh(
    """parts() { lsblk -nrpo NAME,TYPE "$disk" | awk '$2 == "part" { print $1 }'; }
for part in $(parts); do wipefs -a -q -f "$part"; done
@!{settle}
wipefs -a -q -f "$disk"
for try in 1 2 3 4 5; do [ -n "$(parts)" ] || break; @!{settle}; blockdev --rereadpt "$disk" 2>/dev/null || true; done
@!{settle}""",
    settle=_SETTLE,
)


def undo_commands(disk: str) -> list[Script]:
    """List the commands that take a layout of ours away and leave the disk empty; they may be repeated.

    Args:
        disk: Path of the disk.
    """
    return [
        sh(
            """set -e
disk=$(readlink -f @{disk})
ours() {
  source=$(findmnt -n -v -o SOURCE --mountpoint @{at} | tail -n 1)
  # Without udev, the kernel's name for it is the only one.
  lsblk -nrpo NAME,KNAME "$disk" | tr ' ' '\\n' | grep -qxF -e "$source" -e "$(readlink -f "$source")" || { echo "not ours, and mounted at "@{at}": $source" >&2; exit 1; }
}
! mountpoint -q @{at} || ours
systemctl stop -q docker.socket docker.service 2>/dev/null || true
while mountpoint -q @{at}; do
  ours
  uuid=$(findmnt -n -v -o UUID --mountpoint @{at} | tail -n 1)
  umount -R @{at}
  sed -i "\\|^UUID=$uuid[[:space:]]*"@{at}"[[:space:]]|d" /etc/fstab
done
sed -i @{marked} /etc/fstab
rm -f @{file}; rmdir @{folder} 2>/dev/null || true
systemctl daemon-reload""",
            disk=disk,
            at=MOUNT_POINT,
            marked=_MARKED,
            file=GUARD_FILE,
            folder=GUARD_FILE.rpartition("/")[0],
        ),
        sh(
            """set -e
disk=$(readlink -f @{disk})
if command -v vgs >/dev/null && vgs docker >/dev/null 2>&1; then
  [ ! -b /dev/docker/data ] || wipefs -a -q -f /dev/docker/data
  vgremove -q -q -y docker
  rm -f @{profile}
fi
@!{empty}""",
            disk=disk,
            profile=_PROFILE,
            empty=_EMPTY,
        ),
    ]


def wipe_commands(disk: str) -> list[Script]:
    """List the commands that empty a disk, whatever is on it: mounts, swap, volume groups, arrays, partitions.

    Args:
        disk: Path of the disk.
    """
    return [
        sh(
            """set -e
disk=$(readlink -f @{disk})
# Of what is wiped, the line of the mount point goes too: an earlier version did not mark it.
for node in $(lsblk -nrpo NAME "$disk"); do
  uuid=$(blkid -p -o value -s UUID "$node" 2>/dev/null) || continue
  sed -i "\\|^UUID=$uuid[[:space:]]*"@{at}"[[:space:]]|d" /etc/fstab
done
lsblk -nro MOUNTPOINT "$disk" | grep '^/' | sort -ru | while read -r at; do umount -R "$(printf %b "$at")"; done
lsblk -nrpo NAME,MOUNTPOINT "$disk" | awk '$2 == "[SWAP]" { print $1 }' | xargs -r swapoff
if command -v pvs >/dev/null; then
  for pv in $(lsblk -nrpo NAME "$disk"); do pvs --noheadings -o vg_name "$pv" 2>/dev/null || true; done | sort -u | xargs -r -n 1 vgremove -q -q -y -f
fi
lsblk -nrpo NAME,TYPE "$disk" | tac | while read -r name type; do
  case $type in raid*) mdadm --stop "$name" ;; crypt|dm) dmsetup remove "$name" ;; esac
done
@!{empty}""",
            disk=disk,
            at=MOUNT_POINT,
            empty=_EMPTY,
        )
    ]
