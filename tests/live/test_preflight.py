"""The preflight, on machines on which something is wrong: found before anything is put on one, and nothing of it is left behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Lab


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    lab = make_lab(["p1", "p2"], swarm_managers=1)
    lab.book("run", "--only", "01").expect(0)
    return lab


def fails(lab: Lab, *parts: str, **changes: object) -> None:
    lab.book("run", "--to", "02", **changes).refused(1, "CheckFailed", *parts)
    assert lab.summary()["chapters"][1]["status"] == "not-run", "02 would have put something on them"
    for name in ("p1", "p2"):
        assert (
            lab.machine(name).sh(
                "ls -d /run/swarmbook-preflight* 2>/dev/null; ip -o link | grep swbprobe; pgrep systemd-socket; true"
            )
            == ""
        )


def test_a_name_that_differs(lab: Lab) -> None:
    p2 = lab.machine("p2")
    p2.sh("hostname other")
    fails(
        lab,
        "p2: hostname: wanted p2, seen other",
        "hostnamectl set-hostname p2, or nodes: [p1, other]",
        "swarmbook explain name-differs",
    )
    p2.sh("hostname p2")
    lab.book("run", "--only", "01").expect(0)


def test_a_port_that_is_held(lab: Lab) -> None:
    p1 = lab.machine("p1")
    p1.sh(
        "systemd-run -q --unit=squatter /usr/sbin/sshd -D -p 2377 -o PidFile=none; for i in $(seq 100); do ss -Hltn 'sport = :2377' | grep -q . && break; sleep 0.1; done"
    )
    fails(
        lab,
        "p1: ports: wanted free, or the book's own, seen held: 2377/tcp (swarm) by sshd",
        "swarmbook explain port-held",
    )
    # Where nothing of the nodes would listen, it is in no one's way.
    p1.sh(
        "systemctl stop squatter; systemd-run -q --unit=squatter /usr/sbin/sshd -D -o ListenAddress=127.0.0.1:2377 -o PidFile=none"
    )
    lab.book("run", "--only", "01").expect(0)
    p1.sh("systemctl stop squatter")


def test_ports_that_are_closed(lab: Lab) -> None:
    p2 = lab.machine("p2")
    rules = ["tcp --dport 2377 -j DROP", "udp --dport 4789 -j DROP", "udp --dport 8301 -j REJECT"]
    p2.sh("; ".join(f"iptables -A INPUT -p {rule}" for rule in rules))
    fails(
        lab,
        "p1: ports of the others: wanted reached, seen not reached: 2377/tcp, 4789/udp, 8301/udp of p2",
        "swarmbook explain ports-closed",
    )
    p2.sh("; ".join(f"iptables -D INPUT -p {rule}" for rule in rules))
    lab.book("run", "--only", "01").expect(0)


def test_a_link_that_is_narrower_than_it_says(lab: Lab) -> None:
    p2 = lab.machine("p2")
    p2.sh("iptables -A INPUT -p icmp -m length --length 1451:65535 -j DROP")
    fails(
        lab,
        "p1: MTU to the others: wanted 1500 bytes pass whole, seen not to p2",
        "overlay_mtu",
        "swarmbook explain packets-too-large",
    )
    lab.book("run", "--only", "01", overlay_mtu=1400).expect(0)
    p2.sh("iptables -D INPUT -p icmp -m length --length 1451:65535 -j DROP")


def test_names_that_lead_elsewhere(lab: Lab) -> None:
    p1 = lab.machine("p1")
    p1.sh("cp /etc/hosts /root/; echo 192.0.2.77 p2 >> /etc/hosts")
    fails(lab, "p1: names of the others: wanted theirs, or unknown, seen p2 is 192.0.2.77; correct /etc/hosts")
    p1.sh("cat /root/hosts > /etc/hosts")


def test_a_clock_that_is_off(lab: Lab) -> None:
    """The machines of a lab share one clock, so it is what reads it that is put off on one of them."""
    p2 = lab.machine("p2")
    p2.sh(
        """printf '#!/bin/sh\\nexec /bin/date -d "90 seconds" "$@"\\n' > /usr/local/bin/date && chmod +x /usr/local/bin/date"""
    )
    fails(
        lab,
        "p1: clock: wanted within 2 s of the others', seen",
        "s behind p2; timedatectl set-ntp true",
        "s ahead of p1",
        "swarmbook explain clocks-differ",
    )
    p2.sh("rm /usr/local/bin/date")
    lab.book("run", "--only", "01").expect(0)


def test_two_entries_for_one_machine(lab: Lab) -> None:
    p1, p2 = lab.machine("p1"), lab.machine("p2")
    own = p2.sh("cat /etc/machine-id")
    p2.sh(f"echo {p1.sh('cat /etc/machine-id')} > /etc/machine-id")
    fails(lab, "p1: a machine of its own", "the same as p2", "p2: a machine of its own", "the same as p1")
    p2.sh(f"echo {own} > /etc/machine-id")
    lab.book("run", "--only", "01").expect(0)


def test_a_preflight_that_was_killed_leaves_no_port_held(lab: Lab) -> None:
    """Its listeners would be taken for someone's by the next one."""
    p2 = lab.machine("p2")
    p2.sh(
        """dir=$(mktemp -d /run/swarmbook-preflight-XXXXXX)
systemd-run -q --unit=left systemd-socket-activate -l 0.0.0.0:2377 /bin/sleep infinity
until ss -Hltn 'sport = :2377' | grep -q .; do sleep 0.1; done
systemctl show -p MainPID --value left > $dir/pids"""
    )
    # A group of its own, as the preflight makes them.
    assert p2.sh("ps -o pgid= -p $(cat /run/swarmbook-preflight-*/pids)").strip() == p2.sh(
        "cat /run/swarmbook-preflight-*/pids"
    )
    lab.book("run", "--only", "01").expect(0)
    assert p2.try_sh("ls -d /run/swarmbook-preflight-*")[0] != 0


def test_a_first_start_that_is_not_through_is_waited_for(lab: Lab) -> None:
    p1 = lab.machine("p1")
    p1.sh(
        "mkdir -p /run/cloud-init && touch /run/cloud-init/enabled && echo 'Unpacking jq' > /var/log/cloud-init-output.log"
    )
    lab.book("run", "--only", "01", wait_timeout=10).refused(
        3,
        "the first start of p1 is through: not within 10 s",
        "cloud-init is at work: Unpacking jq",
        "swarmbook explain starts-yet",
    )
    running = lab.start("run", "--only", "01")
    running.until(lambda: "Preflight" in running.said or lab.kernels())
    p1.sh("touch /run/cloud-init/result.json")
    running.wait().expect(0)
    p1.sh("rm -r /run/cloud-init /var/log/cloud-init-output.log")


HOLDS = """perl -e 'use Fcntl; open F, ">>/var/lib/dpkg/lock-frontend"; my $$l = pack("s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $$l) or die; sleep 1000'"""


def test_a_package_manager_that_is_at_work_is_waited_for(lab: Lab) -> None:
    """As unattended-upgrades is, on a fresh machine."""
    p1 = lab.machine("p1")
    p1.sh(
        f"systemd-run -q --unit=upgrades {HOLDS}; for i in $(seq 100); do ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q lock-frontend && break; sleep 0.1; done"
    )
    assert p1.try_sh("apt-get install -y jq")[0] != 0, "it holds the lock"
    lab.book("run", "--only", "01").expect(0)
    lab.book("run", "--only", "02", packages=["jq"], wait_timeout=10).refused(
        3,
        "the package manager of p1 is free: not within 10 s",
        "perl (process",
        "swarmbook explain packages-locked",
    )
    running = lab.start("run", "--only", "02", packages=["jq"])
    running.until(lambda: lab.kernels())
    p1.sh("systemctl stop upgrades")
    running.wait().expect(0)
    assert p1.sh("jq --version").startswith("jq-")


@pytest.mark.long
def test_after_a_power_cut_a_port_of_ours_is_not_taken_for_a_closed_one(lab: Lab) -> None:
    """The members' port is published from the start of their containers on, and refused as long as they wait for each other."""
    lab.book("run", mariadb_port=3306).expect(0)
    machines = [lab.machine(name) for name in ("p1", "p2")]
    for machine in machines:
        lab.docker.api.kill(machine.container)
    for machine in machines:
        machine.start()
    for _ in range(3):  # while engines, agents and members come up
        lab.book("run", "--only", "01", mariadb_port=3306).expect(0)
