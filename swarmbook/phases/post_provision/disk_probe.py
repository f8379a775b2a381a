"""A node's disks as they are: one probe. Nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from swarmbook.access.commands import lines, sh
from swarmbook.access.probe import Facts, Probe, line, number, word
from swarmbook.access.probe import device as device_path
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.post_provision.layouts import GUARD_FILE
from swarmbook.phases.support.engine_data import MOUNT_POINT
from swarmbook.show.changes import layers_in_words

__all__ = ["SMALLEST", "Disk", "gib", "read_disk", "second_disk"]

#: Bytes below which a disk is not taken for the second one without being named: images alone want more.
SMALLEST = 4 * 2**30
_KINDS = ("disk", "loop", "mpath")
_SYSTEM = ("/", "/boot", "/boot/efi", "/usr", "/var", "[SWAP]")


@dataclass(frozen=True)
class Disk:
    """A node's second disk as it is.

    Args:
        device: Path of the disk: as given, or by-id where it was found; empty when none was.
        size: Bytes; 0 when there is no such disk.
        content: What is on it, from the disk upwards (see :mod:`swarmbook.phases.post_provision.layouts`); what is not
            ours is one word in the end.
        unfinished: Whether the last layer was begun by a run that was killed, or is there and not active.
        kernel: What the node's kernel can carry: ``dm``, ``thin``, ``btrfs``, ``xfs``; None when it could not be asked.
        bare: Whether the kernel reads no partitions of it (a loop device without scanning).
        uuid: Of the file system on top.
        mounts: Where it, or a part of it, is mounted.
        options: With which options its file system is mounted at the mount point.
        fstab: Options by which fstab mounts this UUID there; empty for no such line.
        entered: What fstab mounts at the mount point that is not ours; empty for nothing.
        guard: Whether the engine is held back until it is mounted.
        taken: What is mounted at the mount point that is not ours: file system and source; empty for nothing.
        occupied: Whether the mount point holds files while nothing is mounted on it.
        system: Whether it is the disk that the machine runs from.
        shared: A volume group on it that lies on other disks, too.
        others: The disks that were looked through when none was named, in words.
        under: What lies under the mount point now: file system and source.
        engine: Version of the engine that is installed or would be; asked for a layout only that depends on it.
        absent: What the node says of a disk that was named and is not there.
    """

    device: str = ""
    size: int = 0
    content: tuple[str, ...] = ()
    unfinished: bool = False
    kernel: tuple[str, ...] | None = None
    bare: bool = False
    uuid: str = ""
    mounts: tuple[str, ...] = ()
    options: str = ""
    fstab: str = ""
    entered: str = ""
    guard: bool = False
    taken: str = ""
    occupied: bool = False
    system: bool = False
    shared: str = ""
    others: tuple[str, ...] = ()
    under: str = ""
    engine: str = ""
    absent: str = ""


def gib(size: int) -> str:
    """Format bytes for people."""
    return f"{size / 2**40:.1f} TiB" if size >= 2**40 else f"{size / 2**30:.0f} GiB"


# dm is taken for usable outside of containers only: its names are the kernel's, so that two containers could not both have a
# volume group `docker`, and without udev its nodes are not made. A kernel that brings no modules with it may have anything built in
# or with its host: then what it says it has counts for dm, and a file system is tried.
_KERNEL = """modules=/lib/modules/$(uname -r)
loads() { [ -d "$modules" ] && modprobe -n -q "$1" 2>/dev/null; }
{ for fs in btrfs xfs; do { grep -qw $fs /proc/filesystems || [ ! -d "$modules" ] || loads $fs; } && echo $fs; done
if ! systemd-detect-virt -cq && { grep -qw device-mapper /proc/misc || loads dm_mod; }; then echo dm; { [ -d /sys/module/dm_thin_pool ] || loads dm_thin_pool; } && echo thin; fi; } | as kernel"""

# What is installed, else what apt or dnf would install.
_ENGINE = """version=$(dockerd --version 2>/dev/null | sed -n 's/^Docker version \\([^,]*\\),.*/\\1/p')
[ -n "$version" ] || version=$(apt-cache policy @{package} 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v none)
echo "$version" | as engine"""

_DISKS = """PATH=$PATH:/usr/sbin:/sbin; at=@{at}
found=$(lsblk -J -b -p -o NAME,KNAME,TYPE,SIZE,RO,RM,MOUNTPOINT @!{only} 2>/dev/null)
echo "$found" | as disks
{ [ -n "$found" ] || { ls -lL @{device}; lsblk @{device}; } 2>&1 >/dev/null; } | as absent
for node in $(lsblk -nrpo NAME @!{only} 2>/dev/null | sort -u); do
  found=$(blkid -p -o export "$node" 2>/dev/null); code=$?
  head -c 512 "$node" >/dev/null 2>&1 || code=9
  echo "= $node $code"; echo "$found"
  case $found in *TYPE=xfs*) echo "BEGUN=$(od -An -tu1 -j126 -N1 "$node" | tr -d ' ')" ;; esac
done | as signatures
cat "/sys/block/$(basename "$(readlink -f @{device})")/loop/partscan" 2>/dev/null | as partscan
if command -v pvs >/dev/null; then
  pvs --noheadings --separator '|' -o pv_name,vg_name 2>/dev/null | as pvs
  lvs --noheadings --separator '|' -o vg_name,lv_name,segtype,lv_active 2>/dev/null | as lvs
fi
for id in /dev/disk/by-id/*; do [ -L "$id" ] && echo "$id $(readlink -f "$id")"; done | as ids
awk -v at=$at '$1 !~ /^#/ && $2 == at { print $1, $4 }' /etc/fstab | as fstab
findmnt -n -v -r -o UUID,OPTIONS --mountpoint $at 2>/dev/null | tail -n 1 | as mount
findmnt -n -v -r -o FSTYPE,SOURCE --target $at 2>/dev/null | tail -n 1 | as under
cat @{guard} 2>/dev/null | as guard
{ mountpoint -q $at || ls -A $at 2>/dev/null | head -n 1; } | as occupied"""


def second_disk(device: str, engine: str = "") -> Probe[Disk]:
    """Look for a node's second disk, and what is on it.

    Args:
        device: The disk; empty to look for it: one that carries a layout of ours, or the only empty one.
        engine: Name of the engine's package, where its version matters.
    """
    only = sh('"$(readlink -f @{device})"', device=device) if device else sh("-e 1,2,7,11")
    disks = sh(_DISKS, at=MOUNT_POINT, only=only, device=device or "/dev/null", guard=GUARD_FILE)
    script = lines(sh(_KERNEL), disks, *([sh(_ENGINE, package=engine)] if engine else []))
    return Probe(script, lambda facts: read_disk(facts, device))


#: Layers from below, the node on top, and whether the last layer is not whole.
_Content = tuple[tuple[str, ...], str, bool]


@dataclass(frozen=True)
class _Found:
    """What the answer says, in parts."""

    sections: Mapping[str, list[str]]
    signatures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def words(self, name: str) -> list[list[str]]:
        return [[part.strip() for part in line.split("|")] for line in self.sections.get(name, []) if line.strip()]


def read_disk(facts: Facts, device: str) -> Disk:
    """Read a node's second disk from the facts of :func:`second_disk`.

    Args:
        facts: What the node has answered.
        device: The disk that was named, or nothing.

    Raises:
        ValueError: The answer is not what it should be.
    """
    sections = {name: list(found) for name, found in facts.items()}
    for needed in ("kernel", "disks", "signatures", "ids", "fstab", "mount", "under", "guard", "occupied", "partscan"):
        if needed not in sections:
            raise ValueError(f"nothing about {needed}")
    found = _Found(sections, _signatures(sections["signatures"]))
    disks = json.loads("\n".join(sections["disks"]) or "{}").get("blockdevices", [])
    common = Disk(
        device=device,
        kernel=tuple(word(each) for each in sections["kernel"] if each),
        occupied=any(sections["occupied"]),
        under=line(" ".join(sections["under"])),
        guard="\n".join(sections["guard"]).strip() == layouts.GUARD.strip(),
        engine=word(" ".join(sections.get("engine", [])).strip()),
        absent=line("; ".join(each for each in sections.get("absent", []) if each)),
    )
    # udev writes what a disk's model says into names of links: one that we could not name in a command is passed over.
    ids = [pair for pair in (each.split() for each in sections["ids"]) if len(pair) == 2 and _is_device(pair[0])]
    read_in = {
        disk["name"]: _disk(found, disk, replace(common, device=device or _by_id(device_path(disk["name"]), ids)))
        for disk in disks
        if disk["type"] in _KINDS
    }
    if device:
        return next(iter(read_in.values()), common)
    return _choose(read_in, disks, common)


def _is_device(path: str) -> bool:
    try:
        return bool(device_path(path))
    except ValueError:
        return False


def _choose(read_in: Mapping[str, Disk], raw: Sequence[Mapping[str, Any]], common: Disk) -> Disk:
    """Choose the one with a layout of ours; else the only empty one; else none, with all that were looked at."""
    ours = [disk for disk in read_in.values() if layouts.matching(disk.content)]
    fixed = {disk["name"] for disk in raw if not disk["ro"] and not disk["rm"] and disk["type"] != "loop"}
    empty = [
        disk
        for name, disk in read_in.items()
        if name in fixed and not disk.content and not disk.mounts and disk.size >= SMALLEST
    ]
    chosen = ours or empty
    if len(chosen) == 1:
        return chosen[0]
    return replace(
        common,
        others=tuple(sorted(f"{disk.device} ({gib(disk.size)}, {_in_words(disk)})" for disk in read_in.values())),
    )


def _in_words(disk: Disk) -> str:
    if disk.system:
        return "the system's"
    if not disk.content:
        return "empty" if disk.size >= SMALLEST else f"empty, below {gib(SMALLEST)}"
    return layers_in_words(disk.content, disk.unfinished)


def _by_id(name: str, ids: Sequence[Sequence[str]]) -> str:
    """Return the name that stays: by model and serial number, rather than by a number that says nothing.

    Where there is none, it is the kernel's.
    """
    links = [link for link, real in ids if real == name]
    return min(
        links,
        key=lambda link: (link.rpartition("/")[2].startswith(("wwn-", "nvme-eui.", "scsi-3", "lvm-", "dm-")), link),
        default=name,
    )


def _signatures(lines: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    values: dict[str, str] = {}
    for each in lines:
        if each.startswith("= "):
            _, node, code = each.split()
            values = found[node] = {"code": code}
        elif "=" in each:
            key, _, value = each.partition("=")
            values[key] = value.replace("\\ ", " ")
    return found


def _walk(tree: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [tree, *(below for child in tree.get("children", ()) for below in _walk(child))]


def _disk(found: _Found, tree: Mapping[str, Any], common: Disk) -> Disk:
    nodes = _walk(tree)
    mounts = tuple(dict.fromkeys(line(node["mountpoint"]) for node in nodes if node["mountpoint"]))
    content, top, unfinished = _content(found, tree)
    uuid = word(found.signatures.get(top, {}).get("UUID", ""))
    mounted, _, options = " ".join(found.sections["mount"]).partition(" ")
    entries = [each.split() for each in found.sections["fstab"] if len(each.split()) == 2]
    fstab = next((options for source, options in entries if uuid and source == f"UUID={uuid}"), "")
    foreign = [
        f"{source} {options}"
        for source, options in entries
        if not (uuid and source == f"UUID={uuid}") and layouts.FSTAB_MARK not in options.split(",")
    ]
    ours = bool(uuid) and mounted == uuid
    names = {node["name"] for node in nodes}
    groups = {group for name, group in found.words("pvs") if name in names and group}
    return replace(
        common,
        size=number(tree["size"]),
        content=content,
        unfinished=unfinished,
        bare=tree["type"] == "loop" and found.sections["partscan"] != ["1"],
        uuid=uuid,
        mounts=mounts,
        options=options if ours else "",
        fstab=fstab,
        entered=line(next(iter(foreign), "")),
        taken=common.under if any(found.sections["mount"]) and not ours else "",
        system=any(mount in _SYSTEM for mount in mounts),
        shared=next((group for name, group in found.words("pvs") if group in groups and name not in names), ""),
    )


def _content(found: _Found, tree: Mapping[str, Any]) -> _Content:
    """Return what is on a disk, from below; the node on top; and whether the last layer is not whole."""
    values = found.signatures.get(tree["name"], {})
    parts = [child for child in tree.get("children", ()) if child["type"] == "part"]
    if "PTTYPE" not in values and not parts:
        return _upon(found, tree)
    names = [found.signatures.get(part["name"], {}).get("PART_ENTRY_NAME", "") for part in parts]
    if values.get("PTTYPE") == "gpt" and names == [layouts.MARK]:
        content, top, unfinished = _upon(found, parts[0])
        return (layouts.TABLE, *content), top, unfinished
    inside = [
        " ".join(filter(None, map(found.signatures.get(part["name"], {}).get, ("TYPE", "LABEL")))) for part in parts
    ]
    partitions = f"{len(parts)} partition{'s'[: len(parts) != 1]}" + (
        f": {', '.join(filter(None, inside))}" if any(inside) else ""
    )
    return (f"{values.get('PTTYPE', 'partitions')}" + (f" ({partitions})" if parts else ""),), tree["name"], False


def _upon(found: _Found, node: Mapping[str, Any]) -> _Content:
    """Return what is on a device that is not partitioned."""
    name = node["name"]
    values = found.signatures.get(name, {})
    if values.get("code") == "9":
        return ("cannot be read",), name, False
    if values.get("code") == "8":  # blkid will not choose
        return ("several signatures",), name, False
    kind = values.get("TYPE", "")
    if kind == "LVM2_member":
        return _volumes(found, node)
    if kind:
        label = values.get("LABEL", "")
        word = (
            f"{kind}:{label}"
            if label == "docker"
            else f"{kind} {label} {values.get('UUID', '')}".replace("  ", " ").strip()
        )
        return (word,), name, values.get("BEGUN", "0") != "0"
    held = [child["type"] for child in node.get("children", ())]
    return ((f"held by {', '.join(held)}",) if held else ()), name, False


def _volumes(found: _Found, node: Mapping[str, Any]) -> _Content:
    """Return what is on a physical volume; as far as LVM's commands are there to tell."""
    name = node["name"]
    group = next((group for pv, group in found.words("pvs") if pv == name), "")
    if not group:
        return (layouts.PHYSICAL,), name, False
    volumes = [(lv, kind, active) for vg, lv, kind, active in found.words("lvs") if vg == group]
    below = (layouts.PHYSICAL, f"vg:{group}")
    if not volumes:
        return below, name, False
    ours = {"data": layouts.DATA, "thinpool": layouts.POOL}
    if group != "docker" or len(volumes) > 1 or volumes[0][0] not in ours:
        return (*below, f"volumes {' '.join(lv for lv, _, _ in volumes)}"), name, False
    volume, kind, active = volumes[0]
    word = ours[volume]
    if active != "active" or (word == layouts.POOL and kind != "thin-pool"):
        return (*below, word), name, True
    child = next((child for child in node.get("children", ()) if child["name"].endswith("/docker-data")), None)
    if word == layouts.POOL or child is None:
        return (*below, word), name, False
    content, top, unfinished = _upon(found, child)
    return (*below, word, *content), top, unfinished
