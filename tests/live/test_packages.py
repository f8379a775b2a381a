"""Packages on hosts of one's own: what was there stays, what the book has added goes, but for what someone else needs by now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from .conftest import Lab, free_ports

#: Three labs of hosts, each built and taken away again.
pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
_PURGE = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y purge"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Two hosts: h1 has nothing of what the book installs, h2 all but the engine, whose settings its owner has kept."""
    shipped = yaml.safe_load((ROOT / "params" / "generic.yaml").read_text())
    lab = make_lab(["h1", "h2"])
    hosts = [f"{name}=deploy@127.0.0.1:{port}" for name, port in zip(("h1", "h2"), free_ports(2))]
    lab.params = {**shipped, **lab.params, "hosts": hosts, "swarm_managers": 1, "wait_timeout": 120}
    lab.swarmbook("lab-hosts", lab.file()).expect(0)
    lab.host("h1").sh(
        f"{_PURGE} docker.io docker-cli containerd runc btrfs-progs fdisk nftables iptables ca-certificates"
    )
    lab.host("h1").sh(f"{_PURGE} --autoremove '?garbage' 2>/dev/null; {_PURGE} '?config-files'")
    lab.host("h2").sh(f"apt-get -qq -y remove docker.io containerd && {_PURGE} docker-cli runc")
    return lab


def packages(lab: Lab, name: str) -> str:
    return lab.host(name).sh("dpkg-query -W -f '${binary:Package} ${Version} ${db:Status-Abbrev}\n'")


def test_hosts_have_the_packages_that_they_had(lab: Lab) -> None:
    before = {name: packages(lab, name) for name in ("h1", "h2")}
    assert "docker.io" not in before["h1"] and "nftables" not in before["h1"] and "nftables" in before["h2"]
    lab.book("run", "--to", "03").expect(0)
    assert all("docker.io" in packages(lab, name) for name in before)
    lab.book("plan", "--for", "destroy", undo_storage=True).expect(0, "packages btrfs-progs", "containerd", "nftables")
    lab.book("destroy", "--yes", undo_storage=True).expect(0)
    assert {name: packages(lab, name) for name in before} == before, "byte for byte"
    for name in before:
        assert lab.host(name).sh("ls -d /etc/swarmbook* 2>/dev/null || true") == ""
        assert lab.host(name).sh("ls -A /var/lib/docker") == "", "docker.io leaves a script of its own there"


def test_what_someone_needs_by_now_stays_and_is_named(lab: Lab) -> None:
    lab.book("run", "--from", "02", "--to", "03").expect(0)
    h1 = lab.host("h1")
    h1.sh(
        "mkdir -p /root/web/DEBIAN && printf 'Package: web\nVersion: 1\nArchitecture: all\nDepends: nftables\nMaintainer: me <me@example.com>\nDescription: web\n' "
        "> /root/web/DEBIAN/control && dpkg-deb -b /root/web /root/web.deb && dpkg -i /root/web.deb"
    )
    lab.host("h2").sh("docker pull -q nowhere.invalid/x 2>/dev/null; docker volume create mine")
    lab.book("destroy", "--yes").expect(
        0, "nftables stays, needed by web", "btrfs-progs stays, for /dev/", "docker.io stays, with what is in it"
    )
    left = packages(lab, "h1")
    assert "nftables" in left and "docker.io" not in left and "web 1 ii" in left
    assert "docker.io" in packages(lab, "h2") and "mine" in lab.host("h2").sh("ls /var/lib/docker/volumes")
    # The note is gone: what stays is its owner's.
    lab.book("destroy", "--yes").expect(0)
    assert packages(lab, "h1") == left


def test_they_stay_where_the_machines_are_built_on_again(lab: Lab) -> None:
    lab.host("h2").sh("systemctl start docker && docker volume rm mine")
    lab.book("run", "--from", "02", "--to", "03").expect(0)
    there = packages(lab, "h1")
    lab.book("destroy", "--yes", undo_packages="never").expect(0)
    assert packages(lab, "h1") == there and "docker.io" in lab.host("h1").sh("cat /etc/swarmbook-packages/added")
    lab.book("destroy", "--yes", undo_storage=True).expect(0, "packages")
    assert "docker.io" not in packages(lab, "h1")
    lab.book("cancel", "--yes").expect(0)
    lab.swarmbook("lab-hosts", lab.file(), "--down").expect(0)
