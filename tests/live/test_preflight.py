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


def test_two_entries_for_one_machine(lab: Lab) -> None:
    p1, p2 = lab.machine("p1"), lab.machine("p2")
    own = p2.sh("cat /etc/machine-id")
    p2.sh(f"echo {p1.sh('cat /etc/machine-id')} > /etc/machine-id")
    fails(lab, "p1: a machine of its own", "the same as p2", "p2: a machine of its own", "the same as p1")
    p2.sh(f"echo {own} > /etc/machine-id")
    lab.book("run", "--only", "01").expect(0)
