"""What 02 would really run on a disk: the device and the layers that were approved, and no others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from swarmbook.model.change import Action, Change, Word
from swarmbook.params import Params
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.post_provision.disk_probe import Disk
from swarmbook.phases.post_provision.disks import COMMANDS, Target, lay_out, wanted_disks
from swarmbook.phases.post_provision.software import command_for
from swarmbook.phases.support.systems import FAMILIES

from .doubles import Fleet, Host

BTRFS, XFS, THIN = (layouts.LAYOUTS[name] for name in ("btrfs", "lvm-xfs", "lvm-thin"))


def commands(target: Target, action: Action, *things: str) -> str:
    return "\n".join(COMMANDS[action](target, Change("sw1", action, things)))


@pytest.mark.parametrize("action", [Action.WIPE_DISK, Action.LAY_OUT])
@pytest.mark.parametrize("layout", [BTRFS, XFS, THIN], ids=lambda layout: layout.name)
def test_the_disk_that_was_approved_is_the_one_that_is_written(action: Action, layout: layouts.Layout) -> None:
    rest = (layout.name, *layout.layers) if action is Action.LAY_OUT else ("ext4",)
    written = commands(Target(layout, False, layout.layers), action, "/dev/disk/by-id/b", *rest)
    assert "/dev/disk/by-id/b" in written
    other = commands(Target(layout, False, layout.layers), action, "/dev/disk/by-id/c", *rest)
    assert written.replace("/by-id/b", "/by-id/c") == other, "nothing but the change says which disk it is"


def test_only_the_layers_that_were_approved_are_made() -> None:
    target = Target(XFS, False, XFS.layers)
    every = commands(target, Action.LAY_OUT, "/dev/b", "lvm-xfs", *XFS.layers)
    assert all(tool in every for tool in ("sfdisk", "pvcreate", "vgcreate", "lvcreate", "mkfs.xfs"))
    last = commands(target, Action.LAY_OUT, "/dev/b", "lvm-xfs", layouts.XFS)
    assert "mkfs.xfs" in last and not any(tool in last for tool in ("sfdisk", "pvcreate", "vgcreate", "lvcreate"))


def test_a_path_stays_one_word() -> None:
    for action in (Action.WIPE_DISK, Action.MOUNT):
        text = commands(Target(BTRFS, True, ()), action, "/dev/x; rm -rf /", "/var/lib/docker")
        assert "'/dev/x; rm -rf /'" in text and "readlink -f /dev/x;" not in text


def test_wiping_stays_on_the_disk() -> None:
    (script,) = layouts.wipe_commands("/dev/b")
    lines = script.splitlines()
    assert lines[:2] == ["set -e", "disk=$(readlink -f /dev/b)"]
    for line in lines[2:]:
        for tool in ("wipefs", "swapoff", "blockdev"):
            assert tool not in line or '"$disk"' in line or '"$part"' in line, line


def test_mounting_never_formats_and_says_where() -> None:
    text = commands(Target(BTRFS, False, ()), Action.MOUNT, "/dev/b", "/var/lib/docker")
    assert "mkfs" not in text and "wipefs" not in text and text.endswith("mount /var/lib/docker")
    assert "mount" not in commands(Target(BTRFS, False, ()), Action.GUARD, "/dev/b").splitlines()[-1]
    assert "remount,noatime,autodefrag" in commands(Target(BTRFS, False, ()), Action.REMOUNT, "/dev/b", "x")


def test_apply_runs_what_was_planned_and_only_there() -> None:
    params = Params(nodes=["sw1", "sw2"], swarm_managers=1, wipe_disks=["sw1"], storage_layout="btrfs")
    foreign = Disk("/dev/b", 2**34, content=("ext4 photos",), kernel=("btrfs",))
    done = Disk(
        "/dev/b", 2**34, content=BTRFS.layers, kernel=("btrfs",), options="noatime,autodefrag",
        fstab="noatime,autodefrag,nofail,x-swarmbook", guard=True, uuid="u",
    )  # fmt: skip
    seen = {"sw1": foreign, "sw2": done}
    wanted = wanted_disks(params, seen)
    changes = lay_out.plan(wanted, seen)
    assert [(c.host, c.action, c.word) for c in changes] == [
        ("sw1", Action.WIPE_DISK, Word.DESTROY),
        ("sw1", Action.LAY_OUT, None),
        ("sw1", Action.MOUNT, None),
    ]
    fleet = Fleet({name: Host(name) for name in seen})
    book: Any = SimpleNamespace(fleet=fleet, params=params)
    lay_out.apply(book, wanted, seen, changes)
    assert fleet["sw2"].ran == []
    assert ["wipefs" in fleet["sw1"].ran[0], "sfdisk" in fleet["sw1"].ran[1], "mkfs.btrfs" in fleet["sw1"].ran[2]] == [
        True
    ] * 3
    with pytest.raises(AssertionError, match="cannot be applied: remove-data"):
        lay_out.apply(book, wanted, seen, [Change("sw2", Action.REMOVE_DATA, ("/",))])
    assert fleet["sw2"].ran == []


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_packages_that_were_approved_are_installed_and_an_option_is_none(family: str) -> None:
    command = command_for(FAMILIES[family], Change("sw1", Action.INSTALL, ("lvm2", "-oDPkg::Pre-Invoke::=touch x")))
    assert "\nset -- lvm2 '-oDPkg::Pre-Invoke::=touch x' \n" in command and '-- "$@"' in command
    assert "install" not in command_for(FAMILIES[family], Change("sw1", Action.UPDATE)).split()
