"""The preflight's verdicts, from what nodes say of themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swarmbook.access.node import Endpoint, Node
from swarmbook.access.probe import Refused
from swarmbook.access.probe import read_facts as said
from swarmbook.base.codes import Code
from swarmbook.model.checks import Check
from swarmbook.params import Params
from swarmbook.phases.provision.links import Heard
from swarmbook.phases.provision.preflight_checks import judge
from swarmbook.phases.provision.preflight_probe import Facts, Listener, about_node, read_facts
from swarmbook.phases.support.ports import Port, Users, wanted_ports

NODES = [
    Node(f"s{n}", f"id{n}", f"10.0.0.{n}", f"10.0.0.{n}", Endpoint(f"10.0.0.{n}", 22), f"ssh-ed25519 K{n}")
    for n in (1, 2)
]
FINE = Facts(
    release={"ID": "debian", "VERSION_ID": "13", "PRETTY_NAME": "Debian 13"}, init="systemd", free=2**40, kernel=frozenset({"overlay", "VXLAN", "IPVS"}),
)  # fmt: skip
SEEN = {
    node.name: replace(FINE, hostname=node.name, machine=f"m{node.name}", addresses={node.private_address: "eth0"})
    for node in NODES
}
PARAMS = Params(nodes=["s1", "s2"], swarm_managers=1)
ALL = sum(Users.NODES in port.users for port in wanted_ports(PARAMS.view("01")))
HEARD = {
    node.name: Heard(
        {},
        {other.name: True for other in NODES if other is not node},
        1500,
        {o.name: ALL for o in NODES if o is not node},
    )
    for node in NODES
}


def rows(heard: Any = HEARD, params: Params = PARAMS, **changes: Any) -> list[Check]:
    """Verdicts where the first node has these changes."""
    return judge(params.view("01"), NODES, {**SEEN, "s1": replace(SEEN["s1"], **changes)}, heard)


def test_all_is_well() -> None:
    assert [check for check in rows() if not check.ok] == []
    assert {check.host for check in rows()} == {"s1", "s2"}


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "too old": (
        {"release": {"ID": "debian", "VERSION_ID": "10", "PRETTY_NAME": "Debian 10"}},
        "system",
        "Debian from 12",
    ),
    "another system": ({"release": {"ID": "alpine", "VERSION_ID": "3.20"}}, "system", "Debian from 12"),
    "without systemd": ({"init": "runit"}, "system", "its first process is runit"),
    "no overlay": ({"kernel": frozenset({"VXLAN"})}, "kernel", "without overlay; modprobe overlay"),
    "no VXLAN": ({"kernel": frozenset({"overlay"})}, "kernel", "without VXLAN; modprobe vxlan"),
    "a full disk": ({"free": 2**29}, "free disk", "0.5 GiB; make room"),
    "another name": ({"hostname": "db-a.example.com"}, "hostname", "nodes: [db-a, s2]"),
    "a clone": ({"machine": "ms2"}, "a machine of its own", "the same as s2"),
    "another address": (
        {"addresses": {"192.168.1.5": "eth0"}},
        "address among the nodes",
        "private_addresses: [s1=ADDRESS]",
    ),
    "a wrong name": ({"names": {"s2": "10.9.9.9"}}, "names of the others", "s2 is 10.9.9.9"),
    "a clock ahead": ({"clock": (7.5, 0.1)}, "clock", "7.5 s ahead of s2; timedatectl"),
    "a clock behind": ({"clock": (-7.5, 0.1)}, "clock", "7.5 s behind s2"),
    "a port on all addresses": (
        {"listeners": (Listener("tcp", "*", 2377, "nginx"),)},
        "ports",
        "held: 2377/tcp (swarm) by nginx",
    ),
    "a port on its own address": (
        {"listeners": (Listener("udp", "10.0.0.1", 53, "dnsmasq"),)},
        "ports",
        "53/udp (Consul's DNS) by dnsmasq",
    ),
    "a stranger's engine": (
        {"listeners": (Listener("tcp", "::", 2376, "dockerd"),)},
        "ports",
        "2376/tcp (the engine's API) by dockerd",
    ),
    "a stranger where the book has been": (
        {"ours": True, "listeners": (Listener("tcp", "::", 2376, "nginx"),)},
        "ports",
        "by nginx",
    ),
}


@pytest.mark.parametrize(("changes", "name", "words"), CASES.values(), ids=CASES)
def test_what_is_wrong_is_told_with_its_mend(changes: dict[str, Any], name: str, words: str) -> None:
    wrong = [check for check in rows(**changes) if not check.ok and check.host == "s1"]
    assert [check.name for check in wrong] == [name] and words in wrong[0].seen, wrong


FINE_CASES: dict[str, dict[str, Any]] = {
    "the book's own": {"ours": True, "listeners": (Listener("tcp", "*", 2376, "dockerd"), Listener("udp", "0.0.0.0", 4789, ""), Listener("tcp", "10.0.0.1", 8501, "consul"))},
    "a hostname in capitals, with a domain": {"hostname": "S1.Example.COM"},
    "systemd-resolved": {"listeners": (Listener("udp", "127.0.0.53", 53, "systemd-resolve"),)},
    "another address of the node": {"listeners": (Listener("tcp", "10.8.0.1", 2377, "vpn"),)},
    "a clock that could not be read better": {"clock": (2.6, 1.0)},
    "names as in a cloud image": {"names": {"s2": "127.0.1.1"}},
    "the other's public address": {"names": {"s2": "10.0.0.2"}},
}  # fmt: skip


@pytest.mark.parametrize("changes", FINE_CASES.values(), ids=FINE_CASES)
def test_what_only_looks_wrong(changes: dict[str, Any]) -> None:
    assert [check for check in rows(**changes) if not check.ok] == []


def test_what_is_only_to_be_known() -> None:
    seen = {
        check.name: check.seen
        for check in rows(unanswered=("s2",), packages="apt-get (process 7)")
        if check.host == "s1"
    }
    assert "no answer within" in seen["name servers, to know"] and "for s2" in seen["name servers, to know"]
    assert seen["packages, to know"] == "apt-get (process 7) at work; 02 and 03 wait for it"
    assert all(check.ok for check in rows(unanswered=("s2",), packages="apt-get (process 7)"))


def test_forwarding_is_told_for_nodes_that_only_ssh_leads_to() -> None:
    tunnelled = [replace(node, tunnel=True) for node in NODES]

    def row(**changes: Any) -> Check:
        found = judge(PARAMS.view("01"), tunnelled, {**SEEN, "s1": replace(SEEN["s1"], **changes)}, HEARD)
        return next(check for check in found if (check.host, check.name) == ("s1", "SSH forwards connections"))

    assert row().ok
    barred = row(barred=((2376, "Administratively prohibited"),))
    assert not barred.ok and barred.code is Code.FORWARDING_REFUSED
    assert "not to 2376 (Administratively prohibited); AllowTcpForwarding local" in barred.seen
    assert not any(check.name == "SSH forwards connections" for check in rows())


def test_what_does_not_arrive() -> None:
    heard = {**HEARD, "s1": Heard({"s2": (Port("udp", 4789, "VXLAN"),)}, {"s2": False}, 9000)}
    wrong = {check.name: check.seen for check in rows(heard) if not check.ok}
    assert set(wrong) == {"ports of the others", "MTU to the others"}
    assert (
        "4789/udp of s2; open them from 10.0.0.1 to 10.0.0.2" in wrong["ports of the others"]
        and "overlay_mtu" in wrong["MTU to the others"]
    )
    small = PARAMS.model_copy(update={"overlay_mtu": 1400})
    assert [check.name for check in rows(heard, small) if not check.ok] == ["ports of the others"], (
        "overlay_mtu is below it"
    )


def test_what_was_not_tried_is_not_said_to_be_reached() -> None:
    def reported(heard: Heard) -> Check:
        return next(
            check for check in rows({**HEARD, "s1": heard}) if (check.host, check.name) == ("s1", "ports of the others")
        )

    assert reported(HEARD["s1"]).seen == "reached"
    for tried in (0, 5):
        row = reported(Heard({}, {}, 1500, {"s2": tried}))
        assert row.ok and row.seen.startswith(f"{tried} of {ALL} tried")


def test_a_wall_that_does_not_know_a_new_node_yet_is_no_failure() -> None:
    """01 comes before 03, which tells the walls: the ports of the others are tried for nothing until then."""
    shut = {**HEARD, "s1": Heard({"s2": (Port("tcp", 2377, "swarm"),)}, {}, 1500, {"s2": ALL})}

    def row(admits: set[str]) -> Check:
        seen = {**SEEN, "s2": replace(SEEN["s2"], admits=frozenset(admits))}
        found = judge(PARAMS.view("01"), NODES, seen, shut)
        return next(check for check in found if (check.host, check.name) == ("s1", "ports of the others"))

    assert row({"10.0.0.2"}).ok and row({"10.0.0.2"}).seen == "not tried; the wall of s2 lets it in when 03 has run"
    for admits in (set[str](), {"10.0.0.1", "10.0.0.2"}):
        assert not row(admits).ok and row(admits).code is Code.PORTS_CLOSED


def test_ports_follow_the_parameters() -> None:
    reported = {
        str(port)
        for port in wanted_ports(Params(docker_api_port=3376, consul_https_port=9501, mariadb_port=3307).view("01"))
    }
    assert {
        "3376/tcp",
        "9501/tcp",
        "3307/tcp",
        "2377/tcp",
        "7946/udp",
        "4789/udp",
        "8300/tcp",
        "8301/udp",
        "8302/tcp",
        "53/udp",
    } <= reported


def test_an_answer_is_read() -> None:
    facts = read_facts(said(ANSWER), 1000.0, 1000.5)
    assert facts.clock == (5.0 - 0.25, 0.25) and facts.init == "systemd" and facts.hostname == "s1" and facts.ours
    assert facts.addresses == {"10.0.0.1": "eth0", "172.17.0.1": "docker0"} and facts.mtu["eth0"] == 1500
    assert facts.kernel == {"overlay", "device-mapper"} and facts.free == 123456 and facts.names == {"s2": "10.0.0.2"}
    assert facts.listeners[:2] == (
        Listener("udp", "127.0.0.53", 53, "systemd-resolve"),
        Listener("tcp", "::", 22, "sshd"),
    )
    assert facts.listeners[2] == Listener("udp", "0.0.0.0", 4789, "") and facts.release["ID"] == "ubuntu"
    assert facts.admits == {"10.0.0.1", "10.0.0.2"} and facts.unanswered == ("s3",)
    assert facts.packages == "unattended-upgr (process 431)"


ANSWER = """now
 1005.0
init
 systemd
hostname
 s1
machine
 0123456789abcdef
free
     123456
ours
 yes
addresses
 eth0 10.0.0.1
 docker0 172.17.0.1
mtu
 eth0 1500
kernel
 overlay
 device-mapper
listeners
 udp 127.0.0.53%lo:53 users:(("systemd-resolve",pid=1,fd=3))
 tcp [::]:22 users:(("sshd",pid=9,fd=4),("systemd",pid=1,fd=5))
 udp 0.0.0.0:4789
admits
 10.0.0.1
 10.0.0.2
names
 s2 10.0.0.2
 s3 -
users
 431 unattended-upgr
os
 ID=ubuntu
 PRETTY_NAME="Ubuntu 24.04"
"""


def test_a_node_that_lies_is_refused() -> None:
    probe = about_node(["s2"])
    lies = {
        "an address that is a command": ("10.0.0.1", "10.0.0.1;id"),
        "a name that leads to a command": ("s2 10.0.0.2", "s2 $(id)"),
        "a port that is none": ("0.0.0.0:4789", "0.0.0.0:99999"),
        "no clock": (" 1005.0", " tomorrow"),
        "no MTU": ("eth0 1500", "eth0 x"),
    }
    for was, lie in lies.values():
        with pytest.raises(Refused):
            probe.answer(ANSWER.replace(was, lie), "s1")
    for cut in (0, 40, 200):
        with pytest.raises(Refused):
            probe.answer(ANSWER[:cut], "s1")


def test_one_node_alone() -> None:
    only = [NODES[0]]
    assert [
        check for check in judge(PARAMS.view("01"), only, {"s1": SEEN["s1"]}, {"s1": Heard(mtu=1500)}) if not check.ok
    ] == []


def test_nodes_that_agree_with_each_other_may_all_be_wrong() -> None:
    """Certificates are made here, and begin five minutes ago: on nodes that are 15 minutes behind, none would be valid."""
    all_behind = {name: replace(facts, clock=(-900.0, 0.1)) for name, facts in SEEN.items()}
    wrong = [check for check in judge(PARAMS.view("01"), NODES, all_behind, HEARD) if not check.ok]
    assert {(check.host, check.name) for check in wrong} == {("s1", "clock, from here"), ("s2", "clock, from here")}
    assert "900 s behind it" in wrong[0].seen and wrong[0].code is Code.CLOCKS_DIFFER
