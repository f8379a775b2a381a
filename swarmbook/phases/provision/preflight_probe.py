"""What a node says of itself before anything is put on it: one probe."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from swarmbook.access.commands import lines, sh
from swarmbook.access.probe import Facts as Answer
from swarmbook.access.probe import Probe, address, number, word
from swarmbook.phases.provision.links import CLEAR
from swarmbook.phases.support.esp import HAS_ESP
from swarmbook.phases.support.passing import USERS_OF_PACKAGES, USERS_SCRIPT
from swarmbook.phases.support.systems import OS_RELEASE, read_os_release
from swarmbook.phases.support.wall import ADMITS

__all__ = ["RESOLVES_S", "Facts", "Listener", "about_node", "read_facts"]

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
#: Seconds that a name may take: the resolver asks each of three servers twice, 5 s each, and most that answer do so in a few ms.
RESOLVES_S = 12
#: The clock first: what comes after it takes its time.
_ASK = """date +%s.%N | as now
# Listeners that a killed preflight left would be taken for someone's.
for dir in /run/swarmbook-preflight-*; do [ ! -d "$dir" ] || { @!{clear}
}; done
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
@!{esp} && echo ESP
{ grep -qw device-mapper /proc/misc || loads dm_mod; } && echo device-mapper; } | as kernel
ss -H -lntup | awk '{ print $1, $5, $7 }' | as listeners
@!{admits} | as admits
resolve() {
  found=$(timeout @{within} getent ahostsv4 "$1")
  case $? in 0) echo "$1 ${found%%[ 	]*}" | head -n 1 ;; 124) echo "$1 -" ;; esac
}
{ for other in @{others}; do resolve "$other" & done; wait; } | as names
{ @!{packages}; } | as users
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
        unanswered: Names for which its name servers had no answer in time, not even that there is none.
        packages: Who works with its package manager; empty where no one does.
        barred: Ports to which its SSH server forwards nothing, and what it says.
        admits: Addresses that a wall of ours on it takes for nodes; empty where none stands.
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
    unanswered: tuple[str, ...] = ()
    packages: str = ""
    barred: tuple[tuple[int, str], ...] = ()
    admits: frozenset[str] = frozenset()


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
        listeners.append(Listener(word(protocol), address_part[:60], number(port, 65535), name[:60]))
    return Facts(
        release=read_os_release(said["os"]),
        init=word(one("init")),
        hostname=word(one("hostname")),
        machine=word(one("machine")),
        free=number(one("free") or "0"),
        addresses={address(found): word(interface) for interface, found in pairs("addresses")},
        mtu={word(interface): number(mtu, 1 << 20) for interface, mtu in pairs("mtu")},
        kernel=frozenset(word(line) for line in said["kernel"]),
        listeners=tuple(listeners),
        ours=one("ours") == "yes",
        # It looked at its clock at some moment in between.
        clock=(_moment(one("now")) - (began + ended) / 2, (ended - began) / 2),
        names={word(name): address(found) for name, found in pairs("names") if found != "-"},
        unanswered=tuple(sorted(word(name) for name, found in pairs("names") if found == "-")),
        packages=USERS_OF_PACKAGES.read(said),
        admits=frozenset(address(found) for found in said["admits"] if found),
    )


def _moment(text: str) -> float:
    """Parse seconds since 1970. Python reads `nan` as a number too, and a clock of nan would differ from none."""
    if not _SECONDS.fullmatch(text):
        raise ValueError(f"no time: {text[:80]!r}")
    return float(text)


def about_node(others: Sequence[str], clock: Callable[[], float] = time.time) -> Probe[Facts]:
    """Ask what a node says about itself, and where it finds the others' names.

    Args:
        others: Names of the other nodes.
        clock: This computer's.
    """
    began = clock()
    script = lines(
        sh(
            _ASK,
            others=others,
            within=RESOLVES_S,
            esp=HAS_ESP,
            admits=ADMITS,
            clear=CLEAR,
            packages=USERS_SCRIPT,
        ),
        OS_RELEASE,
    )
    return Probe(script, lambda said: read_facts(said, began, clock()))
