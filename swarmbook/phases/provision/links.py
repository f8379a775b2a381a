"""Whether nodes reach each other: real listeners, real connections and datagrams, on the ports and at the addresses that will be used.

Nothing has to be installed: every machine has systemd, whose ``systemd-socket-activate`` listens, and bash, which connects.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from swarmbook.access.cluster import Node
from swarmbook.access.hosts import Fleet, Host

__all__ = ["Heard", "Port", "try_links"]

#: Listeners end by themselves after this many seconds, whatever becomes of us.
_LIFE_S = 30
#: How long a connection may take, seconds. What a firewall drops takes all of it.
_TRY_S = 2


@dataclass(frozen=True)
class Port:
    """A port that nodes use, and what for."""

    protocol: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


@dataclass(frozen=True)
class Heard:
    """What of a node reached the others.

    Args:
        closed: Ports of another node that it does not reach, by that one's name.
        full: Whether an undivided packet of its link's MTU gets to another node; only where it has ``ping``.
        mtu: Of its link, bytes.
        tried: How many ports of each other node were tried.
    """

    closed: Mapping[str, tuple[Port, ...]] = field(default_factory=dict)
    full: Mapping[str, bool] = field(default_factory=dict)
    mtu: int = 0
    tried: Mapping[str, int] = field(default_factory=dict)


def _listen(address: str, free: Sequence[Port]) -> str:
    """Listens at the free ports in the background; prints the folder in which it keeps what arrives."""
    tcp = [port for port in free if port.protocol == "tcp"]
    udp = [port for port in free if port.protocol == "udp"]
    lines = ["dir=$(mktemp -d /run/swarmbook-preflight-XXXXXX) || exit 1", f"listen() {{ setsid timeout {_LIFE_S} systemd-socket-activate \"$@\" </dev/null >/dev/null 2>&1 & echo $! >> $dir/pids; }}"]  # fmt: skip
    if tcp:
        lines.append(f"listen -a {' '.join(f'-l {address}:{port.number}' for port in tcp)} /bin/true")
    for port in udp:  # each of its own: they are handed over at the first datagram
        lines.append(f"listen -d -l {address}:{port.number} /bin/sh -c 'exec cat <&3 >> '$dir/{port.number}")
    for port in free:
        kind = "t" if port.protocol == "tcp" else "u"
        lines.append(
            f"for i in $(seq 60); do ss -H -ln{kind} 'sport = :{port.number}' | grep -q . && break; sleep 0.03; done"
        )
    return "\n".join([*lines, "echo $dir"])


def _try(
    node: Node, others: Sequence[Node], free: Mapping[str, Sequence[Port]], busy: Mapping[str, Sequence[Port]], mtu: int
) -> str:
    """Sends from one node to all the others at once; prints ``closed NAME PORT`` and ``full NAME yes``."""
    lines = []
    for other in others:
        at = other.private_address
        for port in [*free[other.name], *busy[other.name]]:
            if port.protocol == "tcp":
                lines.append(
                    f"(timeout {_TRY_S} bash -c 'exec 3<>/dev/tcp/{at}/{port.number}' 2>/dev/null || echo closed {other.name} {port.number}) &"
                )
            elif port in free[other.name]:  # a datagram may be lost: three are not
                lines.append(
                    f"(for i in 1 2 3; do echo {node.name} > /dev/udp/{at}/{port.number}; sleep 0.05; done) 2>/dev/null &"
                )
        lines.append(
            f"(command -v ping >/dev/null && {{ ping -q -c 1 -W {_TRY_S} -M do -s {mtu - 28} {at} >/dev/null 2>&1 && echo full {other.name} yes || echo full {other.name} no; }}) &"
        )
    return "\n".join([*lines, "wait"])


def _collect(folder: str) -> str:
    """What arrived, as ``PORT NAME`` lines; ends the listeners, and takes the folder away."""
    return f"""cd {shlex.quote(folder)} || exit 0
for port in [0-9]*; do [ -e "$port" ] && sort -u "$port" | sed "s/^/$port /"; done
for pid in $(cat pids 2>/dev/null); do kill -- -$pid 2>/dev/null; done
rm -rf {shlex.quote(folder)}
true"""


def try_links(
    fleet: Fleet,
    nodes: Sequence[Node],
    ports: Sequence[Port],
    busy: Mapping[str, frozenset[Port]],
    mtu: Mapping[str, int],
    used: Collection[str] = (),
) -> dict[str, Heard]:
    """Try every port between every two nodes.

    Args:
        fleet: SSH to them.
        nodes: Which.
        ports: Which ports.
        busy: Ports at which somebody listens already, by node: a connection to it is tried, and no datagram.
        mtu: Of each node's link, bytes.
        used: Nodes on which nobody listens for us: what runs there may be about to start, and would find its port taken.

    Returns:
        What each node's tries came to.
    """
    if len(nodes) < 2:
        return {node.name: Heard(mtu=mtu[node.name]) for node in nodes}
    known = {node.name: node for node in nodes}
    free = {name: [port for port in ports if port not in busy[name] and name not in used] for name in known}
    taken = {name: [port for port in ports if port in busy[name]] for name in known}
    folders: dict[str, str] = {}

    def listen(host: Host) -> None:
        folders[host.name] = host.run(_listen(known[host.name].private_address, free[host.name])).stdout.strip()

    def send(host: Host) -> list[str]:
        others = [node for node in nodes if node.name != host.name]
        script = _try(known[host.name], others, free, taken, mtu[host.name])
        return host.run(f"bash -c {shlex.quote(script)}").stdout.splitlines()

    arrived: dict[str, set[tuple[str, str]]] = {}

    def collect(host: Host) -> None:
        lines = host.run(_collect(folders[host.name])).stdout.splitlines()
        arrived[host.name] = {(line.split()[0], line.split()[1]) for line in lines if len(line.split()) == 2}

    try:
        fleet.each(listen, [name for name in known if free[name]])
        said = fleet.each(send, known)
    finally:
        fleet.each(collect, folders)
    found = {}
    for name in known:
        closed: dict[str, list[Port]] = {}
        refused = {(line.split()[1], int(line.split()[2])) for line in said[name] if line.startswith("closed ")}
        for other in known:
            for port in ports if other != name else ():
                lost = (
                    port.protocol == "udp"
                    and port in free[other]
                    and (str(port.number), name) not in arrived.get(other, set())
                )
                if lost or (port.protocol == "tcp" and (other, port.number) in refused):
                    closed.setdefault(other, []).append(port)
        full = {line.split()[1]: line.split()[2] == "yes" for line in said[name] if line.startswith("full ")}
        tried = {
            other: len(free[other]) + sum(port.protocol == "tcp" for port in taken[other])
            for other in known
            if other != name
        }
        found[name] = Heard({other: tuple(which) for other, which in closed.items()}, full, mtu[name], tried)
    return found
