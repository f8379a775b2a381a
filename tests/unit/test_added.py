"""Packages that the book adds: noted by the script that installs them, through kills, and what of them may go again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from swarmbook.access.commands import Script
from swarmbook.phases.support import added
from swarmbook.phases.support.added import Added, held_back, noted, noted_file, removal, what_stays
from swarmbook.phases.support.systems import FAMILIES

#: A package manager that knows a few packages and what each needs: `installed` and `needs` are its data.
DPKG = r"""#!/bin/sh
case $0 in
*dpkg) echo amd64 ;;
*dpkg-query) cat "$DATA/installed" ;;
*apt-mark) while [ "$1" != -- ]; do shift; done; shift; for p; do grep -xF "$p" "$DATA/manual"; done; true ;;
*apt-get)
  simulated=; verb=
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in -s) simulated=yes ;; -o) shift ;; -*) ;; *) verb=$1 ;; esac
    shift
  done
  [ $# -eq 0 ] || shift
  there() { sed -n 's/^installed \([^:]*\).*/\1/p' "$DATA/installed"; }
  case $verb in
  install) for p; do grep "^$p " "$DATA/needs"; done | tr ' ' '\n' | sort -u | while read -r p; do
      there | grep -qxF "$p" && continue
      if [ "$simulated" ]; then echo "Inst $p (1 Debian [amd64])"
      else sed -i "/ $p\$/d" "$DATA/installed"; echo "installed $p" >> "$DATA/installed"; fi
    done
    [ "$simulated" ] || [ ! -e "$DATA/kill" ] || { rm "$DATA/kill"; kill -KILL $(cat "$DATA/shell"); } ;;
  purge) for p; do sed -i "/ $p\$/d" "$DATA/installed"; done ;;
  remove) for gone; do for p in $(there); do grep "^$p " "$DATA/needs" | grep -qw "$gone" && echo $p; done; done | sort -u | while read -r p; do
      if [ "$simulated" ]; then echo "Remv $p [1]"
      else sed -i "/ $p\$/d" "$DATA/installed"; echo "config-files $p" >> "$DATA/installed"; fi
    done ;;
  esac ;;
esac
"""
NEEDS = "docker.io docker.io containerd runc iptables\ncontainerd containerd runc\nrunc runc\niptables iptables\nlvm2 lvm2 dmsetup\ndmsetup dmsetup\nweb web iptables\n"  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Callable[[Script], subprocess.CompletedProcess[str]]:
    """Runs scripts where that package manager is; the note lies in `note`."""
    for name in ("dpkg", "dpkg-query", "apt-get", "apt-mark"):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(DPKG)
        file.chmod(0o755)
    (tmp_path / "needs").write_text(NEEDS)
    (tmp_path / "manual").write_text("")
    (tmp_path / "installed").write_text("installed libc6:amd64\nconfig-files lvm2\n")
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "DATA": str(tmp_path)}

    def run(script: Script) -> subprocess.CompletedProcess[str]:
        script_here = f"echo $$ > {tmp_path}/shell\n{script}".replace(added.NOTE, str(tmp_path / "note"))
        return subprocess.run(["sh", "-c", script_here], env=env, capture_output=True, text=True, check=False)

    return run


def install(*packages: str) -> Script:
    return noted("debian", packages, FAMILIES["debian"].install)


def note(tmp_path: Path) -> list[str]:
    file = tmp_path / "note" / "added"
    return file.read_text().split("\n")[:-1] if file.exists() else []


def seen(host: Callable[[Script], subprocess.CompletedProcess[str]]) -> Added:
    return added.added_on().answer(host(added.added_on().command).stdout, "sw1")


def test_what_is_added_is_noted_and_what_was_there_is_not(
    host: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    assert seen(host) == Added()
    assert host(install("docker.io", "libc6")).returncode == 0
    assert note(tmp_path) == ["purge containerd", "purge docker.io", "purge iptables", "purge runc"]
    with (tmp_path / "installed").open("a") as installed:
        installed.write("installed web\n")  # by someone else, meanwhile
    assert host(install("lvm2")).returncode == 0
    assert [each for each in note(tmp_path) if "docker" not in each] == ["purge containerd", "purge dmsetup", "purge iptables", "purge runc", "remove lvm2"]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "note").iterdir()) == ["added", "asked"]
    host(noted_file(str(tmp_path / "absent")))
    host(noted_file(str(tmp_path / "needs")))
    assert note(tmp_path)[-1] == f"file {tmp_path / 'absent'}" and not any("needs" in each for each in note(tmp_path))
    (tmp_path / "manual").write_text("runc\nlvm2\n")
    found = seen(host)
    assert (
        found.claimed == ("runc",) and found.packages["lvm2"] == "remove" and found.files == (str(tmp_path / "absent"),)
    )


def test_a_kill_in_an_installation_loses_nothing_and_takes_no_one_elses(
    host: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "kill").touch()
    assert host(install("docker.io")).returncode == -signal.SIGKILL
    with (tmp_path / "installed").open("a") as installed:
        installed.write("installed web\n")
    assert note(tmp_path) == [] and set(seen(host).packages) == {"docker.io", "containerd", "runc", "iptables"}
    assert host(install("docker.io")).returncode == 0
    assert note(tmp_path) == ["purge containerd", "purge docker.io", "purge iptables", "purge runc"]


def test_nothing_goes_that_something_else_needs(
    host: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    before = (tmp_path / "installed").read_text()
    host(install("docker.io", "lvm2"))
    packages = list(seen(host).packages)

    def asked(some: list[str]) -> tuple[tuple[str, ...], dict[str, str]]:
        probe = what_stays("debian", some)
        goes, stays = probe.answer(host(probe.command).stdout, "sw1")
        return goes, dict(stays)

    assert asked(packages) == (tuple(sorted(packages)), {})
    # One that stays keeps what it needs, and so does what someone else has installed.
    assert asked([each for each in packages if each != "lvm2"])[1] == {"dmsetup": "lvm2"}
    (tmp_path / "installed").write_text((tmp_path / "installed").read_text() + "installed web\n")
    goes, stays = asked(packages)
    assert stays == {"iptables": "web"} or stays.keys() == {"iptables"}
    assert set(goes) == set(packages) - {"iptables"}, "docker.io needs iptables, and not the other way round"
    # What comes after it was looked at ends it before anything goes.
    now = (tmp_path / "installed").read_text()
    done = host(removal("debian", packages, ["lvm2"], []))
    assert (
        done.returncode == 1 and "web would go as well" in done.stderr and (tmp_path / "installed").read_text() == now
    )
    (tmp_path / "installed").write_text(now.replace("installed web\n", ""))
    (tmp_path / "list").touch()
    assert host(removal("debian", packages, ["lvm2"], [str(tmp_path / "list")])).returncode == 0
    assert sorted((tmp_path / "installed").read_text().split("\n")) == sorted(before.split("\n")), (
        "also settings that were left"
    )
    assert not (tmp_path / "note").exists() and not (tmp_path / "list").exists()
    assert host(removal("debian", [], [], [])).returncode == 0


def test_what_stays_in_any_case() -> None:
    packages = dict.fromkeys(
        ("docker.io", "iptables", "lvm2", "btrfs-progs", "xfsprogs", "nftables", "runc", "fdisk"), "purge"
    )
    found = Added(
        "debian", packages, (), {"nftables": "/etc/nftables.conf"}, ("runc",),
        {"LVM2_member": ("/dev/sdb", "/dev/sdc"), "btrfs": ("/dev/sdb",), "ext4": ("/dev/sda",)}, "/dev/sdb",
    )  # fmt: skip
    assert held_back(found, ["docker.io", "iptables"], "") == {
        "lvm2": "for /dev/sdc",
        "nftables": "/etc/nftables.conf was changed",
        "runc": "which was asked for since",
    }
    stays = held_back(replace(found, undone=""), ["docker.io", "iptables"], "with what is in it")
    assert stays["docker.io"] == stays["iptables"] == "with what is in it" and stays["btrfs-progs"] == "for /dev/sdb"


RPM = r"""#!/bin/sh
[ "$1" = -q ] && { echo "${4%-1-1.x86_64}"; exit; }
shift 2
for p; do case $p in
  nftables) echo "	nftables is needed by (installed) web-1-1.x86_64" ;;
  runc) case " $* " in *" moby "*) ;; *) echo "	runc is needed by (installed) moby-1-1.x86_64" ;; esac ;;
esac; done >&2
"""


def test_rpm_says_who_needs_a_package(host: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "bin" / "rpm").write_text(RPM)
    (tmp_path / "bin" / "rpm").chmod(0o755)
    probe = what_stays("rhel", ["moby", "runc", "nftables"])
    assert probe.answer(host(probe.command).stdout, "sw1") == (("moby", "runc"), {"nftables": "web"})
    assert "rpm -e -- moby runc" in removal("rhel", ["moby", "runc"], [], ["/etc/yum.repos.d/docker-ce.repo"])
    assert host(removal("rhel", ["nftables"], [], [])).returncode == 1


def test_a_host_with_rpm_notes_the_same(host: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "bin" / "rpm").write_text('#!/bin/sh\n[ "$1" != -qa ] || cat "$DATA/installed"\n')
    (tmp_path / "bin" / "dnf").write_text(
        """#!/bin/sh
while [ "$1" != -- ]; do shift; done; shift
for p; do echo "installed $p" >> "$DATA/installed"; done
echo "installed slirp4netns" >> "$DATA/installed"
[ ! -e "$DATA/kill" ] || { rm "$DATA/kill"; kill -KILL $(cat "$DATA/shell"); }
"""
    )
    for name in ("rpm", "dnf"):
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "installed").write_text("installed bash\n")
    rpm = noted("rhel", ["docker-ce", "bash"], FAMILIES["rhel"].install)
    (tmp_path / "kill").touch()
    assert host(rpm).returncode == -signal.SIGKILL
    # Of an installation that was killed only what was asked for is known to be the book's.
    assert host(noted("rhel", ["lvm2"], FAMILIES["rhel"].install)).returncode == 0
    assert note(tmp_path) == ["purge docker-ce", "purge lvm2"]
