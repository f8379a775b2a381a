"""Whether nodes reach each other: real listeners, real connections and datagrams, on the ports and at the addresses that will be used.

Nothing has to be installed: every machine has systemd, whose ``systemd-socket-activate`` listens, and bash, which connects.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from swarmbook.access.commands import lines, sh
from swarmbook.access.fleet import Fleet
from swarmbook.access.hosts import Host
from swarmbook.access.node import Node
from swarmbook.access.probe import Facts, Probe, number
from swarmbook.phases.support.ports import Port

__all__ = ["Heard", "try_links"]

#: Listeners end by themselves after this many seconds, whatever becomes of us.
_LIFE_S = 30
#: How long a connection may take, seconds. What a firewall drops takes all of it.
_TRY_S = 2


_FOLDER = re.compile(r"/run/swarmbook-preflight-[A-Za-z0-9]{6}")


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


def _listen(own: str, free: Sequence[Port]) -> Probe[str]:
    """Listen at the free ports in the background; answer with the folder in which what arrives is kept.

    Args:
        own: The node's private address.
        free: Ports without a listener.
    """
    tcp = [port for port in free if port.protocol == "tcp"]
    script = [
        sh(
            """dir=$(mktemp -d /run/swarmbook-preflight-XXXXXX) || exit 1
listen() { setsid timeout @{life} systemd-socket-activate "$@" </dev/null >/dev/null 2>&1 & echo $! >> $dir/pids; }""",
            life=_LIFE_S,
        )
    ]
    if tcp:
        ends = [word for port in tcp for word in ("-l", f"{own}:{port.number}")]
        script.append(sh("listen -a @{ends} /bin/true", ends=ends))
    for port in free:
        if port.protocol == "udp":  # each of its own: they are handed over at the first datagram
            script.append(
                sh(
                    "listen -d -l @{end} /bin/sh -c 'exec cat <&3 >> '$dir/@{number}",
                    end=f"{own}:{port.number}",
                    number=port.number,
                )
            )
    for port in free:
        script.append(
            sh(
                "for i in $(seq 60); do ss -H @{kind} 'sport = :'@{number} | grep -q . && break; sleep 0.03; done",
                kind="-lnt" if port.protocol == "tcp" else "-lnu",
                number=port.number,
            )
        )
    return Probe(lines(*script, sh("echo $dir | as folder")), lambda facts: _folder("".join(facts["folder"])))


def _folder(path: str) -> str:
    if not _FOLDER.fullmatch(path):
        raise ValueError(f"no folder of ours: {path[:80]!r}")
    return path


@dataclass(frozen=True)
class Tries:
    """What one node's tries came to: ports that are closed, ports at which a connection was refused, and whether a whole packet passes, by node."""

    closed: frozenset[tuple[str, int]]
    refused: frozenset[tuple[str, int]]
    full: Mapping[str, bool]


def _try(
    node: Node, others: Sequence[Node], free: Mapping[str, Sequence[Port]], busy: Mapping[str, Sequence[Port]], mtu: int
) -> Probe[Tries]:
    """Send from one node to all the others at once."""
    script = []
    for other in others:
        at = other.private_address
        for port in [*free[other.name], *busy[other.name]]:
            values = {"name": other.name, "number": port.number}
            if port.protocol == "tcp":
                open_it = sh("exec 3<>@{end}", end=f"/dev/tcp/{at}/{port.number}")
                script.append(
                    sh(
                        "(why=$(LC_ALL=C timeout @{within} bash -c @{open} 2>&1) || case $why in "
                        "*'Connection refused'*) echo refused @{name} @{number} ;; *) echo closed @{name} @{number} ;; esac) &",
                        within=_TRY_S,
                        open=open_it,
                        **values,
                    )
                )
            elif port in free[other.name]:  # a datagram may be lost: three are not
                script.append(
                    sh(
                        "(for i in 1 2 3; do echo @{own} > @{end}; sleep 0.05; done) 2>/dev/null &",
                        own=node.name,
                        end=f"/dev/udp/{at}/{port.number}",
                    )
                )
        script.append(
            sh(
                "(command -v ping >/dev/null && { ping -q -c 1 -W @{within} -M do -s @{size} @{at} >/dev/null 2>&1 "
                "&& echo full @{name} yes || echo full @{name} no; }) &",
                within=_TRY_S,
                size=mtu - 28,
                at=at,
                name=other.name,
            )
        )
    # /dev/tcp is bash's; the lines are marked once all are there.
    inner = lines(*script, sh("wait"))

    def read(facts: Facts) -> Tries:
        words = [line.split() for line in facts["tries"] if line]
        closed, refused = (
            frozenset((name, number(port, 65535)) for kind, name, port in words if kind == wanted)
            for wanted in ("closed", "refused")
        )
        return Tries(closed, refused, {name: answer == "yes" for kind, name, answer in words if kind == "full"})

    return Probe(sh("bash -c @{inner} | as tries", inner=inner), read)


def _collect(folder: str) -> Probe[frozenset[tuple[str, str]]]:
    """Collect the port and name of what arrived; end the listeners, and take the folder away."""
    script = sh(
        """cd @{folder} 2>/dev/null && for port in [0-9]*; do [ -e "$port" ] && sort -u "$port" | sed "s/^/$port /"; done | as arrived
for pid in $(cat @{folder}/pids 2>/dev/null); do kill -- -$pid 2>/dev/null; done
rm -rf @{folder}
true""",
        folder=folder,
    )

    def read(facts: Facts) -> frozenset[tuple[str, str]]:
        pairs = (line.split() for line in facts.get("arrived", ()))
        return frozenset((pair[0], pair[1]) for pair in pairs if len(pair) == 2)

    return Probe(script, read)


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
        busy: Ports that already have a listener, by node: a connection to it is tried, and no datagram.
        mtu: Of each node's link, bytes.
        used: Nodes on which no test listener is started: what runs there may be about to start, and would find its port taken.

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
        folders[host.name] = host.ask(_listen(known[host.name].private_address, free[host.name]))

    def send(host: Host) -> Tries:
        others = [node for node in nodes if node.name != host.name]
        return host.ask(_try(known[host.name], others, free, taken, mtu[host.name]))

    arrived: dict[str, frozenset[tuple[str, str]]] = {}

    def collect(host: Host) -> None:
        arrived[host.name] = host.ask(_collect(folders[host.name]))

    try:
        fleet.each(listen, [name for name in known if free[name]])
        tries = fleet.each(send, known)
    finally:
        fleet.each(collect, folders)
    found = {}
    for name in known:
        others = [other for other in known if other != name]
        # A port of a container has a listener from the container's start on, and is refused until what is in it listens as
        # well: a member that joins takes its time. That is no firewall, and says nothing of the way either.
        unsure = {
            (other, port) for other in others for port in taken[other] if (other, port.number) in tries[name].refused
        }
        shut = tries[name].closed | tries[name].refused
        closed: dict[str, list[Port]] = {}
        for other in others:
            for port in ports:
                lost = (
                    port.protocol == "udp"
                    and port in free[other]
                    and (str(port.number), name) not in arrived.get(other, frozenset())
                )
                if lost or (port.protocol == "tcp" and (other, port.number) in shut and (other, port) not in unsure):
                    closed.setdefault(other, []).append(port)
        tried = {
            other: len(free[other])
            + sum(port.protocol == "tcp" and (other, port) not in unsure for port in taken[other])
            for other in others
        }
        found[name] = Heard(
            {other: tuple(which) for other, which in closed.items()}, tries[name].full, mtu[name], tried
        )
    return found
