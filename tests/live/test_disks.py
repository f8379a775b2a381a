"""Every layout of the second disk on a kernel with device-mapper: made, found again, rebooted, resumed, refused, undone.

One machine tells the story, since each boot takes some seconds: a layout is made, survives a reboot in good order or a pulled plug,
and is taken away by 90 before the next one is made. Its second disk has 3 TiB, more than any table but GPT can hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmbook.base.errors import ConfirmationMissing, ForeignData, WorldError
from swarmbook.book.result import StepResult
from swarmbook.model.change import Action
from swarmbook.phases import destroy
from swarmbook.phases.post_provision import disks as storage
from swarmbook.phases.post_provision import software
from swarmbook.phases.support.esp import HAS_ESP
from swarmbook.show.changes import sentence

from . import uml

B, C = "/dev/ubdb", "/dev/ubdc"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[uml.Machine]:
    if lacking := uml.lacking():
        pytest.skip(f"no machine of its own kernel: {lacking}")
    folder = tmp_path_factory.mktemp("uml")
    uml.make_root(folder / "root.img")
    machine = uml.Machine(folder / "sw1", folder / "root.img", [3 * 2**40, 8 * 2**30])
    machine.boot()
    yield machine
    machine.pull_the_plug()


def disks(machine: uml.Machine, home: Path, layout: str = "auto", disk: str = B, **more: object) -> StepResult:
    more |= {"storage_driver": "devicemapper"} if layout == "lvm-thin" else {}
    return storage.lay_out(uml.open_book("02", machine, home, {"storage_layout": layout, "docker_disk": disk, **more}))


def reported(result: StepResult) -> list[str]:
    return [sentence(change) for change in result.changes]


def undone(machine: uml.Machine, home: Path) -> list[str]:
    book = uml.open_book("90", machine, home, {"undo_storage": True, "docker_disk": B, "confirm": "DESTROY"})
    return [sentence(change) for change in destroy.destroy(book).changes if change.action is Action.UNDO_LAYOUT]


def mounted(machine: uml.Machine) -> tuple[str, str, set[str]]:
    kind, source, options = machine.sh("findmnt -n -v -o FSTYPE,SOURCE,OPTIONS --mountpoint /var/lib/docker").split()
    return kind, source, set(options.split(","))


def bytes_of(machine: uml.Machine, number: int) -> str:
    """What is on a disk: every block that is not all zeroes. Where the file has holes is its file system's business, and changes."""
    machine.sh("sync")
    digest, block = hashlib.sha256(), 4096
    with machine.images[number].open("rb") as file:
        at = 0
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // block * block
            except OSError:
                return digest.hexdigest()
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            while at < end:
                if any(data := os.pread(file.fileno(), block, at)):
                    digest.update(f"{at} ".encode() + data)
                at += block


def test_a_kernel_that_can_encrypt_an_overlay_says_so(machine: uml.Machine) -> None:
    """By its modules, which the question loads. That of the lab has none, and says no: there 06 makes a plain network."""
    assert machine.sh(f"lsmod | grep -c ^esp4 || true; {HAS_ESP} && echo yes; lsmod | grep -c ^esp4").split() == [
        "0",
        "yes",
        "1",
    ]
    assert machine.sh("ip xfrm state") == "", "it was asked in a namespace of its own"


def test_packages_are_there(machine: uml.Machine, tmp_path: Path) -> None:
    machine.sh("dpkg-query -W ca-certificates >/dev/null 2>&1 || true")
    seen = software.system.observe(uml.open_book("02", machine, tmp_path, {"docker_disk": B}))["sw1"]
    assert seen.release["ID"] == "debian"
    assert {"fdisk", "lvm2", "btrfs-progs", "xfsprogs"} <= set(seen.installed)
    assert set(seen.disk.kernel or ()) == {"btrfs", "xfs", "dm", "thin"}


def test_which_disk_it_is(machine: uml.Machine, tmp_path: Path) -> None:
    with pytest.raises(WorldError) as caught:
        disks(machine, tmp_path, disk="auto")
    assert all(
        words in str(caught.value)
        for words in (f"{B} (3.0 TiB, empty)", f"{C} (8 GiB, empty)", "/dev/ubda", "the system's", "docker_disk")
    )
    with pytest.raises(WorldError, match="the one that it runs from"):
        disks(machine, tmp_path, disk="/dev/ubda", wipe_disks=["sw1"], confirm="DESTROY")
    machine.sh(f"mkfs.ext4 -q -L photos {C}")
    book = uml.open_book("02", machine, tmp_path, {})
    assert {name: disk.device for name, disk in storage.lay_out.observe(book).items()} == {"sw1": B}, (
        "the only empty one"
    )


LAYOUTS = [
    ("lvm-btrfs", "btrfs", {"noatime", "autodefrag"}),
    ("lvm-xfs", "xfs", {"noatime", "prjquota"}),
    ("btrfs", "btrfs", {"noatime", "autodefrag"}),
]


@pytest.mark.parametrize(
    ("layout", "kind", "options"),
    # The default always, the others by night.
    [
        pytest.param(*each, id=each[0], marks=[pytest.mark.long] if number else [])
        for number, each in enumerate(LAYOUTS)
    ],
)
def test_layout(machine: uml.Machine, tmp_path: Path, layout: str, kind: str, options: set[str]) -> None:
    first = disks(machine, tmp_path, layout)
    assert len(first.changes) == 2 and reported(first)[0].startswith(f"{layout} made on {B}"), reported(first)
    assert reported(disks(machine, tmp_path, "auto")) == [], "auto keeps what is there"
    assert machine.sh(f"blkid -p -o value -s PTTYPE {B}") == "gpt"
    assert int(machine.sh(f"blockdev --getsize64 {B}1")) > 3 * 2**40 - 2**22, (
        "all of the disk, beyond what a DOS table can hold"
    )
    machine.sh("echo kept > /var/lib/docker/letter; systemctl start docker.service")
    machine.reboot()
    seen, _, how = mounted(machine)
    assert (seen, how & options) == (kind, options)
    assert machine.sh("cat /var/lib/docker/letter; systemctl is-active docker.service") == "kept\nactive"
    assert reported(disks(machine, tmp_path, layout)) == []
    if layout == "lvm-xfs":
        assert "Project" in machine.sh("xfs_quota -x -c state /var/lib/docker") and machine.sh(
            "xfs_info /var/lib/docker | grep -o ftype=1"
        )
        with pytest.raises(ForeignData, match="another layout of ours"):
            disks(machine, tmp_path, "lvm-btrfs")
    assert undone(machine, tmp_path)[0].startswith(f"the layout of {B} with all that is on it: GPT")
    if layout == "btrfs":
        assert undone(machine, tmp_path) == [], "once is enough"
    assert (
        machine.sh(
            f"lsblk -n -o NAME {B}; blkid -p {B}; grep docker /etc/fstab; ls /etc/systemd/system/docker.service.d 2>/dev/null; true"
        )
        == "ubdb"
    )


@pytest.mark.long
def test_thin_pool(machine: uml.Machine, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="devicemapper driver"):
        disks(machine, tmp_path, "lvm-thin")
    machine.sh(
        "printf '#!/bin/sh\\necho Docker version 20.10.24+dfsg1, build 297e128\\n' > /usr/local/bin/dockerd; chmod +x /usr/local/bin/dockerd"
    )
    assert len(disks(machine, tmp_path, "lvm-thin").changes) == 1
    assert reported(disks(machine, tmp_path, "lvm-thin")) == []
    machine.reboot()
    assert reported(disks(machine, tmp_path, "lvm-thin")) == []
    assert machine.sh("lvs --noheadings -o segtype,lv_active,profile docker/thinpool; ls /dev/mapper/docker-thinpool").split() == [
        "thin-pool", "active", "docker-thinpool", "/dev/mapper/docker-thinpool",
    ]  # fmt: skip
    assert len(undone(machine, tmp_path)) == 1
    assert machine.sh(f"lsblk -n -o NAME {B}; blkid -p {B}; true") == "ubdb"


def test_existing(machine: uml.Machine, tmp_path: Path) -> None:
    before = machine.sh("cat /etc/fstab; lsblk -f"), bytes_of(machine, 1), bytes_of(machine, 2)
    result = disks(machine, tmp_path, "existing")
    assert reported(result) == [] and [check.seen for check in result.table.checks] == ["ext4 /dev/ubda"]  # type: ignore[attr-defined]
    assert (machine.sh("cat /etc/fstab; lsblk -f"), bytes_of(machine, 1), bytes_of(machine, 2)) == before


@pytest.mark.long
def test_killed_after_every_layer(machine: uml.Machine, tmp_path: Path) -> None:
    """A run is killed after one more command each time; the next one goes on from there. As lvm-xfs: mkfs.xfs says at once that it was there."""
    layout = "lvm-xfs"
    told_then = []
    for _ in range(4):
        left = iter([True])

        def before(command: str, left: Iterator[bool] = left) -> None:
            if (
                any(word in command for word in ("sfdisk", "pvcreate", "vgcreate", "lvcreate", "mkfs."))
                and "@@" not in command
                and not next(left, False)
            ):
                raise uml.PowerLost

        machine.before = before
        with pytest.raises(uml.PowerLost):
            disks(machine, tmp_path, layout)
        machine.before = lambda command: None
        told_then.append(machine.sh(f"lsblk -n -o NAME,TYPE {B} | wc -l"))
    done = disks(machine, tmp_path, layout)
    kind = layout.removeprefix("lvm-")
    assert reported(done) == [f"{layout} finished on {B}: {kind}", "mounted at /var/lib/docker"]
    assert told_then == ["2", "2", "2", "3"]
    undone(machine, tmp_path)


def test_the_plug_is_pulled(machine: uml.Machine, tmp_path: Path) -> None:
    """While volumes are made, and nothing was reported as written to the disk."""

    def before(command: str) -> None:
        if "mkfs.btrfs" in command and "@@" not in command:
            machine.pull_the_plug()

    machine.before = before
    with pytest.raises(uml.PowerLost):
        disks(machine, tmp_path, "lvm-btrfs")
    machine.before = lambda command: None
    machine.boot()
    assert reported(disks(machine, tmp_path, "lvm-btrfs"))[-1] == "mounted at /var/lib/docker"
    assert reported(disks(machine, tmp_path, "lvm-btrfs")) == []


def test_a_disk_that_does_not_come_up(machine: uml.Machine, tmp_path: Path) -> None:
    """The machine boots and lets one in, and the engine does not start on the bare folder."""
    disks(machine, tmp_path, "lvm-btrfs")
    soon = "/run/systemd/system.conf.d/soon.conf"  # it would wait a minute and a half for the device
    machine.sh(
        f"mkdir -p {soon.rpartition('/')[0]}; printf '[Manager]\nDefaultDeviceTimeoutSec=5s\n' > {soon}; systemctl daemon-reexec"
    )
    machine.sh(
        "systemctl stop docker.service; umount /var/lib/docker; vgchange -q -an docker; sed -i s/UUID=./UUID=f/ /etc/fstab; systemctl daemon-reload"
    )
    assert machine.run("systemctl start docker.service", check=False).exit != 0
    assert machine.sh(
        "systemctl is-active docker.service; mountpoint /var/lib/docker; ls -A /var/lib/docker; true"
    ).startswith("inactive")
    machine.sh(f"rm {soon}; systemctl daemon-reexec; vgchange -q -ay docker; udevadm settle")
    assert reported(disks(machine, tmp_path)) == ["mounted at /var/lib/docker"]
    machine.sh("systemctl start docker.service")
    undone(machine, tmp_path)


def test_what_the_notebook_says_by_hand(machine: uml.Machine, tmp_path: Path) -> None:
    """The box for a machine with a kernel of its own, typed; what is left is to mount it."""
    cells = json.loads((Path(__file__).parents[2] / "notebooks" / "02_post_provision.ipynb").read_text())["cells"]
    text = next(cell["source"] for cell in cells if cell["id"] == "02-step2-text")
    (box,) = re.findall(r"```sh\n(echo 'type=lvm.*?)```", text, re.DOTALL)
    machine.sh(f"set -e\n{box.replace('/dev/sdb', B)}")
    assert reported(disks(machine, tmp_path)) == ["mounted at /var/lib/docker"]
    undone(machine, tmp_path)


def test_foreign_data(machine: uml.Machine, tmp_path: Path) -> None:
    """Refused byte for byte, wiped only when its node is named and DESTROY was said."""
    # Mounted to read only: ext4 goes on to write by itself for some seconds else, to mark the inode tables that it has zeroed.
    machine.sh(f"""set -e
echo 'size=2G, type=lvm
type=linux' | sfdisk -q --label gpt {B}; udevadm settle
pvcreate -q -y {B}1; vgcreate -q -y backup {B}1; lvcreate -q -y -n monday -L 1G backup; mkfs.ext4 -q /dev/backup/monday
mkdir -p /mnt/monday; mount /dev/backup/monday /mnt/monday; echo precious > /mnt/monday/letter; mount -o remount,ro /mnt/monday
mkfs.xfs -q -K {B}2; sync""")
    before = bytes_of(machine, 1)
    for layout in ("auto", "btrfs", "lvm-xfs"):
        with pytest.raises(ForeignData, match="holds data that is not ours"):
            disks(machine, tmp_path, layout)
    with pytest.raises(ConfirmationMissing):
        disks(machine, tmp_path, wipe_disks=["sw1"])
    assert undone(machine, tmp_path) == [], "not ours, so 90 leaves it"
    assert bytes_of(machine, 1) == before
    assert machine.sh("cat /mnt/monday/letter") == "precious"
    done = disks(machine, tmp_path, "btrfs", wipe_disks=["sw1"], confirm="DESTROY")
    assert [change.action for change in done.changes] == [Action.WIPE_DISK, Action.LAY_OUT, Action.MOUNT]
    assert reported(disks(machine, tmp_path, "btrfs")) == []
    assert mounted(machine)[:2] == ("btrfs", f"{B}1")
    assert machine.sh("vgs --noheadings -o vg_name 2>/dev/null") == ""
