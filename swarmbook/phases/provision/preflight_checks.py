"""Phase 01, last step: is every machine fit for what comes, and do they reach each other? Nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from swarmbook.access.commands import lines, sh
from swarmbook.access.hosts import Host
from swarmbook.access.node import Node
from swarmbook.access.probe import Facts as Answer
from swarmbook.access.probe import Probe, address, number
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable
from swarmbook.params import Params
from swarmbook.phases.provision.links import Heard, Port, try_links
from swarmbook.phases.support.systems import OS_RELEASE, family_of, read_os_release

__all__ = ["Facts", "Listener", "about_node", "judge", "preflight", "read_facts", "wanted_ports"]

#: Free bytes that the system's own disk should have: packages, logs, and what a container writes beside its volumes.
_FREE = 2 * 2**30
#: Seconds that the clocks of two nodes may differ: certificates begin to hold at a moment, and logs are read side by side.
_SKEW_S = 2.0
#: Who may hold a port on a node that the book has been on before; the kernel's VXLAN has no name.
_OURS = {"dockerd", "docker-proxy", "containerd", "consul", "mariadbd", ""}
_ANY = {"0.0.0.0", "*", "::"}  # noqa: S104 - read, not bound

#: The clock first: what comes after it takes its time.
_ASK = """date +%s.%N | as now
cat /proc/1/comm | as init
cat /proc/sys/kernel/hostname | as hostname
cat /etc/machine-id 2>/dev/null | as machine
df --output=avail -B1 / | tail -n 1 | as free
{ [ ! -e /etc/swarmbook ] || echo yes; } | as ours
ip -o -4 address show | awk '{ split($4, a, "/"); print $2, a[1] }' | as addresses
for link in /sys/class/net/*; do echo "${link##*/} $(cat "$link/mtu")"; done | as mtu
modules=/lib/modules/$(uname -r)
loads() { [ -d "$modules" ] && modprobe -n -q "$1" 2>/dev/null; }
# A kernel without modules to look at is asked for a link; it goes at once.
{ { grep -qw overlay /proc/filesystems || loads overlay; } && echo overlay
{ [ -d /sys/module/vxlan ] || loads vxlan || { ip link add swbprobe type vxlan id 42 dstport 0 2>/dev/null && ip link delete swbprobe; }; } && echo VXLAN
{ [ -e /proc/net/ip_vs ] || loads ip_vs; } && echo IPVS
{ [ -d /sys/module/esp4 ] || loads esp4; } && echo ESP
{ grep -qw device-mapper /proc/misc || loads dm_mod; } && echo device-mapper; } | as kernel
ss -H -lntup | awk '{ print $1, $5, $7 }' | as listeners
for other in @{others}; do getent ahostsv4 "$other" | awk -v o="$other" 'NR == 1 { print o, $1 }'; done | as names
"""


@dataclass(frozen=True)
class Listener:
    """A process that listens on a node."""

    protocol: str
    address: str
    port: int
    process: str


@dataclass(frozen=True)
class Facts:
    """What a node says of itself.

    Args:
        release: Its os-release.
        init: Its first process.
        hostname: What it calls itself.
        machine: Its machine id.
        free: Bytes free on the system's disk.
        addresses: Interface by IPv4 address.
        mtu: By interface, bytes.
        kernel: What its kernel has, of overlay, VXLAN, IPVS, ESP, device-mapper.
        listeners: Who listens.
        ours: Whether the book has been there before.
        clock: Seconds that its clock is ahead of this computer's, and by how many that may be wrong.
        names: Where it finds the other nodes' names, as far as it does.
    """

    release: Mapping[str, str] = field(default_factory=dict)
    init: str = ""
    hostname: str = ""
    machine: str = ""
    free: int = 0
    addresses: Mapping[str, str] = field(default_factory=dict)
    mtu: Mapping[str, int] = field(default_factory=dict)
    kernel: frozenset[str] = frozenset()
    listeners: tuple[Listener, ...] = ()
    ours: bool = False
    clock: tuple[float, float] = (0.0, 0.0)
    names: Mapping[str, str] = field(default_factory=dict)


def wanted_ports(params: Params) -> list[Port]:
    """List every port that the nodes use among themselves, or show."""
    both, mariadb = ("tcp", "udp"), [Port("tcp", params.mariadb_port, "MariaDB")] if params.mariadb_port else []
    return [
        Port("tcp", params.docker_api_port, "the engine's API"),
        Port("tcp", 2377, "swarm"),
        *(Port(p, 7946, "swarm gossip") for p in both),
        Port("udp", 4789, "VXLAN"),
        Port("tcp", 8300, "Consul"),
        *(Port(p, port, "Consul gossip") for port in (8301, 8302) for p in both),
        Port("tcp", params.consul_https_port, "Consul's API"),
        *(Port(p, 53, "Consul's DNS") for p in both),
        *mariadb,
    ]


def read_facts(said: Answer, began: float, ended: float) -> Facts:
    """Read what a node has answered.

    Args:
        said: The facts of :func:`about_node`.
        began: This computer's clock when it was asked.
        ended: And when the answer was there.

    Raises:
        ValueError: It is not what it should be.
    """

    def one(name: str) -> str:
        return "".join(said[name]).strip()[:200]

    def pairs(name: str) -> list[list[str]]:
        return [line.split() for line in said[name] if len(line.split()) == 2]

    listeners = []
    for protocol, end, *process in (line.split() for line in said["listeners"] if line):
        address_part, _, port = end.rpartition(":")
        name = process[0].split('"')[1] if process and '"' in process[0] else ""
        address_part = address_part.partition("%")[0].strip("[]")
        listeners.append(Listener(protocol, address_part, number(port, 65535), name[:60]))
    return Facts(
        release=read_os_release(said["os"]),
        init=one("init"),
        hostname=one("hostname"),
        machine=one("machine"),
        free=number(one("free") or "0"),
        addresses={address(found): interface for interface, found in pairs("addresses")},
        mtu={interface: number(mtu, 1 << 20) for interface, mtu in pairs("mtu")},
        kernel=frozenset(said["kernel"]),
        listeners=tuple(listeners),
        ours=one("ours") == "yes",
        # It looked at its clock at some moment in between.
        clock=(float(one("now") or 0) - (began + ended) / 2, (ended - began) / 2),
        names={name: address(found) for name, found in pairs("names")},
    )


def about_node(others: Sequence[str], clock: Callable[[], float] = time.time) -> Probe[Facts]:
    """Ask what a node says about itself, and where it finds the others' names.

    Args:
        others: Names of the other nodes.
        clock: This computer's.
    """
    began = clock()
    script = lines(sh(_ASK, others=others), OS_RELEASE)
    return Probe(script, lambda said: read_facts(said, began, clock()))


def _ask(host: Host, nodes: Sequence[Node]) -> Facts:
    host.connection()  # its time is not the clock's
    return host.ask(about_node([node.name for node in nodes if node.name != host.name]))


def held(ports: Iterable[Port], facts: Facts, address: str) -> dict[Port, str]:
    """Return which of these ports are already taken where the nodes would listen, and by which process."""
    found = {}
    for port in ports:
        for listener in facts.listeners:
            if (listener.protocol, listener.port) == (port.protocol, port.number) and listener.address in {
                *_ANY,
                address,
            }:
                found[port] = listener.process or "the kernel"
    return found


def judge(params: Params, nodes: Sequence[Node], seen: Mapping[str, Facts], heard: Mapping[str, Heard]) -> list[Check]:
    """Compare what was found with what is needed; pure.

    Args:
        params: The parameters.
        nodes: The nodes.
        seen: What each says of itself.
        heard: What of it reached the others.
    """
    rows = []
    for node in nodes:
        rows += _alone(node, seen[node.name])
        rows += _among(node, nodes, seen)
        rows += _ports(params, node, seen[node.name])
        rows += _links(params, node, nodes, heard[node.name])
    return rows


def _row(node: Node, name: str, wanted: str, seen: str, ok: bool, fix: str, code: Code = Code.CHECK_FAILED) -> Check:
    return Check(node.name, name, wanted, seen if ok else f"{seen}; {fix}", ok, code)


def _alone(node: Node, facts: Facts) -> list[Check]:
    system = facts.release.get("PRETTY_NAME", "unknown")
    try:
        family_of(node.name, facts.release)
        fine, fix = True, ""
    except WorldError as error:
        fine, fix = False, error.wanted or ""
    lacking = sorted({"overlay", "VXLAN"} - facts.kernel)
    without = {
        "IPVS": "no virtual IPs, which the book does not use",
        "ESP": "no encrypted overlays",
        "device-mapper": "no LVM layouts",
    }
    notes = [f"{name} {'yes' if name in facts.kernel else f'no ({what})'}" for name, what in without.items()]
    return [
        _row(
            node,
            "system",
            "one that the book knows, with systemd",
            system,
            fine and facts.init == "systemd",
            fix or f"its first process is {facts.init}",
        ),
        _row(
            node,
            "kernel",
            "overlay, VXLAN",
            f"without {', '.join(lacking)}" if lacking else "overlay, VXLAN",
            not lacking,
            f"modprobe {' '.join(name.lower() for name in lacking)}, or a kernel that has them (Ubuntu: linux-modules-extra-$(uname -r))",
        ),
        Check(node.name, "kernel, to know", "-", ", ".join(notes), True),
        _row(
            node,
            "free disk",
            "2 GiB or more on /",
            "enough" if facts.free >= _FREE else f"{facts.free / 2**30:.1f} GiB",
            facts.free >= _FREE,
            "make room",
        ),
    ]


def _among(node: Node, nodes: Sequence[Node], seen: Mapping[str, Facts]) -> list[Check]:
    facts, others = seen[node.name], [other for other in nodes if other.name != node.name]
    short = facts.hostname.split(".")[0]
    named = ", ".join(seen[n.name].hostname.split(".")[0] for n in nodes)
    twins = [
        o.name
        for o in others
        if seen[o.name].machine == facts.machine
        or o.private_address == node.private_address
        or o.host_key == node.host_key
    ]
    wrong = {
        name: at for name, at in facts.names.items() if at not in _own(name, nodes, seen) and not at.startswith("127.")
    }
    ahead = {o.name: facts.clock[0] - seen[o.name].clock[0] for o in others}
    # More than the round trip can account for.
    off = {name: by for name, by in ahead.items() if abs(by) > _SKEW_S + facts.clock[1] + seen[name].clock[1]}
    return [
        _row(
            node,
            "hostname",
            node.name,
            short,
            short == node.name,
            f"hostnamectl set-hostname {node.name}, or nodes: [{named}]",
            code=Code.NAME_DIFFERS,
        ),
        _row(
            node,
            "a machine of its own",
            "no other node's machine id, address or host key",
            f"the same as {', '.join(twins)}" if twins else "its own",
            not twins,
            "two entries for one host, or a clone: rm /etc/machine-id /etc/ssh/ssh_host_*; systemd-machine-id-setup; ssh-keygen -A",
        ),
        _row(
            node,
            "address among the nodes",
            f"{node.private_address} is its own",
            facts.addresses.get(node.private_address) or f"it has {', '.join(facts.addresses)}",
            node.private_address in facts.addresses,
            f"private_addresses: [{node.name}=ADDRESS]",
        ),
        _row(
            node,
            "names of the others",
            "theirs, or unknown",
            ", ".join(f"{name} is {at}" for name, at in wrong.items()) or "fine",
            not wrong,
            "correct /etc/hosts, or the name server",
        ),
        _row(
            node,
            "clock",
            f"within {_SKEW_S:g} s of the others'",
            ", ".join(f"{abs(by):.1f} s {'ahead of' if by > 0 else 'behind'} {name}" for name, by in off.items())
            or "so it is",
            not off,
            "timedatectl set-ntp true, or install chrony",
            code=Code.CLOCKS_DIFFER,
        ),
    ]


def _own(name: str, nodes: Sequence[Node], seen: Mapping[str, Facts]) -> set[str]:
    node = next(node for node in nodes if node.name == name)
    return {node.private_address, node.public_address, *seen[name].addresses}


def _ports(params: Params, node: Node, facts: Facts) -> list[Check]:
    taken = held(wanted_ports(params), facts, node.private_address)
    foreign = {port: who for port, who in taken.items() if not (facts.ours and who.replace("the kernel", "") in _OURS)}
    holders = ", ".join(f"{port} ({port.what}) by {who}" for port, who in foreign.items())
    seen = f"held: {holders}" if foreign else "the book's own, or free" if taken else "free"
    return [
        _row(
            node,
            "ports",
            "free, or the book's own",
            seen,
            not foreign,
            "stop who holds it (ss -lntup), or choose another port where there is a parameter",
            code=Code.PORT_HELD,
        )
    ]


def _links(params: Params, node: Node, nodes: Sequence[Node], heard: Heard) -> list[Check]:
    others = {other.name: other.private_address for other in nodes if other.name != node.name}
    closed = {name: ", ".join(map(str, heard.closed[name])) for name in others if heard.closed.get(name)}
    split = [name for name in others if heard.full.get(name) is False]
    all_ports, tried = len(wanted_ports(params)) * len(others), sum(heard.tried.values())
    # What was not tried is not said to be reached.
    fine = (
        "reached"
        if tried == all_ports
        else f"{tried} of {all_ports} tried, which are reached; no test listener runs where the book has been before"
    )
    rows = [
        _row(
            node,
            "ports of the others",
            "reached",
            "not reached: " + "; ".join(f"{ports} of {name}" for name, ports in closed.items()) if closed else fine,
            not closed,
            f"open them from {node.private_address} to {', '.join(others[name] for name in closed)}: the hosts' firewalls, or a security group",
            code=Code.PORTS_CLOSED,
        )
    ]
    if heard.full:
        rows.append(
            _row(
                node,
                "MTU to the others",
                f"{heard.mtu} bytes pass whole",
                f"not to {', '.join(split)}" if split else "they do",
                not split or 0 < params.overlay_mtu < heard.mtu - 50,
                "fix the MTU of a link on the way, or set overlay_mtu to what passes less 50",
                code=Code.PACKETS_TOO_LARGE,
            )
        )
    return rows


@look()
def preflight(book: Book) -> CheckTable:
    """Check every machine and the links between them, before anything is put on one.

    Raises:
        CheckFailed: A machine is not fit; each row names its fix.
    """
    nodes = book.nodes
    seen = book.fleet.each(lambda host: _ask(host, nodes))
    ports = wanted_ports(book.params)
    busy = {node.name: frozenset(held(ports, seen[node.name], node.private_address)) for node in nodes}
    mtu = {
        node.name: seen[node.name].mtu.get(seen[node.name].addresses.get(node.private_address, ""), 1500)
        for node in nodes
    }
    # Where an address is not a node's own, nothing can listen at it: the row above says so.
    there = [node for node in nodes if node.private_address in seen[node.name].addresses]
    # Nor where the book has been before: an engine that is just starting would find its ports taken, and its swarm would not come up.
    heard = try_links(book.fleet, there, ports, busy, mtu, [name for name, facts in seen.items() if facts.ours])
    return CheckTable(judge(book.params, nodes, seen, {node.name: heard.get(node.name, Heard()) for node in nodes}))
