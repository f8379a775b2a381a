"""Whether nodes reach each other: real listeners, real connections and datagrams, on the ports and at the addresses that will be used.

Nothing has to be installed: every machine has systemd, whose ``systemd-socket-activate`` listens, and bash, which connects.

A slow machine is no closed port. No try has a time of its own: a node's tries end when nothing has come of any of them for a
while, and what has had no answer is tried again, as long as another round still brings something.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from swarmbook.access.commands import lines, sh
from swarmbook.access.fleet import Fleet
from swarmbook.access.hosts import Host
from swarmbook.access.node import Node
from swarmbook.access.probe import Facts, Probe, number
from swarmbook.base.wait import wait_for
from swarmbook.phases.support.ports import Port

__all__ = ["CLEAR", "Answers", "Heard", "Links", "Listening", "Try", "try_links"]

#: Seconds in which nothing came of any try of a node: what a firewall drops is silent for longer.
_SILENCE_S = 3
#: Rounds in a row that bring nothing new, after which what is left has no answer.
_FRUITLESS = 2
#: Nodes that send at once. Each starts a process for every try; lab machines share one computer.
_SENDERS = 4
#: Listeners end by themselves where no one has looked at them for so long: of a run that was killed.
_FORGOTTEN_S = 60

_FOLDER = re.compile(r"/run/swarmbook-preflight-[A-Za-z0-9]{6}")
_END = re.compile(r"(?P<protocol>tcp|udp)/(?P<number>[0-9]{1,5})")


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


@dataclass(frozen=True, order=True)
class Try:
    """A connection (tcp), a datagram (udp) or a whole packet (full, port 0) from one node to another.

    Args:
        to: The other node's name.
        protocol: tcp, udp or full.
        port: Its port.
    """

    to: str
    protocol: str
    port: int = 0


# -- what a node is asked ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listening:
    """A node's test listeners.

    Args:
        folder: Where what arrives is kept.
        ends: Protocol and port of those that have come up.
    """

    folder: str
    ends: frozenset[tuple[str, int]]


def _listen(own: str, free: Sequence[Port]) -> Probe[Listening]:
    """Listen at the free ports in the background.

    Args:
        own: The node's private address.
        free: Ports without a listener.
    """
    tcp = [port for port in free if port.protocol == "tcp"]
    script = [
        sh(
            """dir=$(mktemp -d /run/swarmbook-preflight-XXXXXX) || exit 1
listen() { setsid systemd-socket-activate "$@" </dev/null >/dev/null 2>&1 & echo $! >> $dir/pids; }
# It is up, or has ended: another process has taken its port.
up() { while kill -0 $3 2>/dev/null; do ss -H -ln$1 "sport = :$2" | grep -q . && echo "$4/$2" && return; sleep 0.05; done; }
setsid sh -c 'while sleep 5; [ -d "$0" ]; do
  [ $(($(date +%s) - $(stat -c %Y "$0"))) -lt "$1" ] || { for pid in $(cat "$0/pids"); do kill -- -$pid; done; rm -rf "$0"; }
done' $dir @{forgotten} </dev/null >/dev/null 2>&1 &
echo $dir | as folder""",
            forgotten=_FORGOTTEN_S,
        )
    ]
    if tcp:  # no one has to accept: the kernel completes connections as long as someone holds the sockets
        ends = [word for port in tcp for word in ("-l", f"{own}:{port.number}")]
        script.append(sh("listen @{ends} /bin/sleep infinity; holder=$!", ends=ends))
    waits = [sh("up t @{number} $holder tcp", number=port.number) for port in tcp]
    for port in free:
        if port.protocol == "udp":  # each of its own: they are handed over at the first datagram
            script.append(
                sh(
                    "listen -d -l @{end} /bin/sh -c 'exec cat <&3 >> '$dir/@{number}; pid_@!{word}=$!",
                    end=f"{own}:{port.number}",
                    number=port.number,
                    word=sh("@{number}", number=port.number),
                )
            )
            waits.append(
                sh("up u @{number} $pid_@!{word} udp", number=port.number, word=sh("@{number}", number=port.number))
            )
    script.append(sh("{ @!{waits}\n} | as up", waits=lines(*waits)) if waits else sh(": | as up"))
    return Probe(lines(*script), _read_listening)


def _read_listening(facts: Facts) -> Listening:
    folder = "".join(facts["folder"])
    if not _FOLDER.fullmatch(folder):
        raise ValueError(f"no folder of ours: {folder[:80]!r}")
    ends = set()
    for line in filter(None, facts["up"]):
        match = _END.fullmatch(line)
        if match is None:
            raise ValueError(f"no port: {line[:80]!r}")
        ends.add((match["protocol"], number(match["number"], 65535)))
    return Listening(folder, frozenset(ends))


@dataclass(frozen=True)
class Answers:
    """What one round of a node's tries came to; a try that is in none of them had no answer.

    Args:
        through: They reached the other node.
        refused: The other node said no.
        split: Whole packets that were too large for the way.
    """

    through: frozenset[Try] = frozenset()
    refused: frozenset[Try] = frozenset()
    split: frozenset[Try] = frozenset()


#: One line a connection: name, address, port. What it comes to is said when it is known, so that the reader sees that something goes on.
_CONNECT = """while read -r name at port; do [ -z "$name" ] || (
  why=$( { exec 3<>"/dev/tcp/$at/$port"; } 2>&1 ) && said=through || case $why in *'Connection refused'*) said=refused ;; *'timed out'*) exit ;; *) said=barred ;; esac
  echo "$said $name tcp $port" ) & done <<< "$1"
(for again in 1 2 3; do while read -r at port; do [ -z "$at" ] || echo "$4" > "/dev/udp/$at/$port"; done <<< "$2"; sleep 0.1; done) 2>/dev/null &
command -v ping >/dev/null && while read -r name at; do [ -z "$name" ] ||
  ( ping -q -c 3 -i 0.2 -W 2 -M do -s "$5" "$at" >/dev/null 2>&1 && echo "through $name full 0" || echo "split $name full 0" ) & done <<< "$3"
wait"""


def _try(own: str, tries: Sequence[Try], addresses: Mapping[str, str], mtu: int) -> Probe[Answers]:
    """Send from one node to the others, all at once.

    Args:
        own: Its name, which its datagrams say.
        tries: What to try.
        addresses: Of the other nodes, by name.
        mtu: Of its link.
    """
    of = {kind: [one for one in tries if one.protocol == kind] for kind in ("tcp", "udp", "full")}
    script = sh(
        """export LC_ALL=C
exec 4< <(exec setsid bash -c @{connect} tries @{tcp} @{udp} @{full} @{own} @{size} 2>/dev/null)
group=$!
while read -r -t @{silence} -u 4 line; do echo "$line"; done
kill -KILL -- -$group 2>/dev/null
true""",
        connect=_CONNECT,
        tcp="\n".join(f"{one.to} {addresses[one.to]} {one.port}" for one in of["tcp"]),
        udp="\n".join(f"{addresses[one.to]} {one.port}" for one in of["udp"]),
        full="\n".join(f"{one.to} {addresses[one.to]}" for one in of["full"]),
        own=own,
        size=mtu - 28,
        silence=_SILENCE_S,
    )
    sent = frozenset(tries)

    def read(facts: Facts) -> Answers:
        found: dict[str, set[Try]] = {"through": set(), "refused": set(), "barred": set(), "split": set()}
        for said, name, protocol, port in (line.split() for line in facts["tries"] if line):
            one = Try(name, protocol, number(port, 65535))
            if one in sent:
                found[said].add(one)
        # One that is barred on the way has had no answer from the other node.
        return Answers(*(frozenset(found[said]) for said in ("through", "refused", "split")))

    return Probe(sh("bash -c @{script} | as tries", script=script), read)


def _arrived(folder: str) -> Probe[frozenset[tuple[str, int]]]:
    """Read the sender and the port of every datagram that has arrived so far."""
    script = sh(
        """touch @{folder} && cd @{folder} && for port in [0-9]*; do [ -e "$port" ] && sort -u "$port" | sed "s/^/$port /"; done | as arrived
true""",
        folder=folder,
    )

    def read(facts: Facts) -> frozenset[tuple[str, int]]:
        pairs = (line.split() for line in facts.get("arrived", ()))
        return frozenset((pair[1], number(pair[0], 65535)) for pair in pairs if len(pair) == 2)

    return Probe(script, read)


#: Ends the listeners of the folder ``$dir``, and takes it away. A number may be another process's by now, of a run that was killed.
CLEAR = sh("""for pid in $(cat "$dir/pids" 2>/dev/null); do
  case $(tr '\\0' ' ' < /proc/$pid/cmdline 2>/dev/null) in
    *systemd-socket-activate\\ *|/bin/sleep\\ infinity*|/bin/sh*cat*|cat*) kill -s KILL -- -$pid && while grep -q '^State:.[^Z]' /proc/$pid/status; do sleep 0.05; done ;;
  esac 2>/dev/null
done
rm -rf "$dir\"""")


def _clear(folder: str) -> Probe[None]:
    """End a node's listeners."""
    return Probe(sh("dir=@{folder}\n@!{clear}", folder=folder, clear=CLEAR), lambda facts: None)


# -- the tries -----------------------------------------------------------------------------------------------------------


class Links:
    """All tries between some nodes, and what has become of them; pure.

    Args:
        addresses: Of the nodes, by name.
        listening: Protocols and ports at which a node has a test listener, by node.
        busy: Ports that have a listener of their own, by node: a connection is tried, and no datagram.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        listening: Mapping[str, Collection[tuple[str, int]]],
        busy: Mapping[str, Collection[tuple[str, int]]],
    ) -> None:
        self._busy = {(name, *end) for name, ends in busy.items() for end in ends}
        self.open: dict[str, set[Try]] = {name: set() for name in addresses}
        self._reached: set[tuple[str, Try]] = set()
        self._unsure: set[tuple[str, Try]] = set()
        self.full: dict[str, dict[str, bool]] = {name: {} for name in addresses}
        for name in addresses:
            for other in addresses:
                if other == name:
                    continue
                ends = [*listening.get(other, ()), *(end for end in busy.get(other, ()) if end[0] == "tcp")]
                self.open[name] |= {Try(other, protocol, port) for protocol, port in ends}
                self.open[name].add(Try(other, "full"))
        self._all = {name: frozenset(tries) for name, tries in self.open.items()}
        self._fruitless = 0

    def take(self, answers: Mapping[str, Answers], arrived: Mapping[str, Collection[tuple[str, int]]]) -> None:
        """Note what a round brought.

        Args:
            answers: By the node that sent.
            arrived: Senders and ports of datagrams, by the node where they arrived.
        """
        before = self.left
        for name, answer in answers.items():
            for one in answer.through | answer.split:
                if one.protocol == "full":
                    self.full[name][one.to] = one in answer.through
            through = set(answer.through) | {
                one for one in self.open[name] if one.protocol == "udp" and (name, one.port) in arrived.get(one.to, ())
            }
            # A port of a container has a listener from the container's start on, and is refused until what is in it listens as
            # well: not up yet. That is no firewall, and says nothing of the way either.
            unsure = {one for one in answer.refused if (one.to, one.protocol, one.port) in self._busy}
            self._reached |= {(name, one) for one in through}
            self._unsure |= {(name, one) for one in unsure}
            self.open[name] -= through | unsure
        self._fruitless = 0 if self.left < before else self._fruitless + 1

    @property
    def left(self) -> int:
        """How many tries have not come through."""
        return sum(map(len, self.open.values()))

    @property
    def over(self) -> bool:
        """Tell whether nothing more is to be expected."""
        return not self.left or self._fruitless >= _FRUITLESS

    def __str__(self) -> str:
        every = sum(map(len, self._all.values()))
        return f"{every - self.left} of {every} tries through"

    def heard(self, name: str, ports: Sequence[Port], mtu: int) -> Heard:
        """Return what became of a node's tries."""
        known = {(port.protocol, port.number): port for port in ports}
        closed: dict[str, tuple[Port, ...]] = {}
        tried: dict[str, int] = {}
        for other in self.open:
            if other == name:
                continue
            shut = {(one.protocol, one.port) for one in self.open[name] if one.to == other and one.protocol != "full"}
            if shut:
                closed[other] = tuple(port for end, port in known.items() if end in shut)
            tried[other] = sum(
                one.to == other and one.protocol != "full" and (name, one) not in self._unsure
                for one in self._all[name]
            )
        return Heard(closed, self.full[name], mtu, tried)


def _groups(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[at : at + _SENDERS] for at in range(0, len(names), _SENDERS))


def try_links(
    fleet: Fleet,
    nodes: Sequence[Node],
    ports: Sequence[Port],
    busy: Mapping[str, frozenset[Port]],
    mtu: Mapping[str, int],
    used: Collection[str] = (),
    *,
    timeout_s: float,
) -> dict[str, Heard]:
    """Try every port between every two nodes.

    Args:
        fleet: SSH to them.
        nodes: Which.
        ports: Which ports.
        busy: Ports that already have a listener, by node: a connection to it is tried, and no datagram.
        mtu: Of each node's link, bytes.
        used: Nodes on which no test listener is started: what runs there may be about to start, and would find its port taken.
        timeout_s: Seconds that all of it may take.

    Returns:
        What each node's tries came to.

    Raises:
        WaitTimeout: The tries still make headway when the time is over.
    """
    if len(nodes) < 2:
        return {node.name: Heard(mtu=mtu[node.name]) for node in nodes}
    addresses = {node.name: node.private_address for node in nodes}
    free = {name: [port for port in ports if port not in busy[name] and name not in used] for name in addresses}
    listeners: dict[str, Listening] = {}

    def listen(host: Host) -> None:
        listeners[host.name] = host.ask(_listen(addresses[host.name], free[host.name]), timeout_s=timeout_s)

    def clear(host: Host) -> None:
        host.ask(_clear(listeners[host.name].folder))

    try:
        fleet.each(listen, [name for name in addresses if free[name]])
        links = Links(
            addresses,
            {name: listener.ends for name, listener in listeners.items()},
            {name: [(port.protocol, port.number) for port in ports if port in busy[name]] for name in addresses},
        )

        def send(host: Host) -> Answers:
            probe = _try(host.name, sorted(links.open[host.name]), addresses, mtu[host.name])
            return host.ask(probe, timeout_s=timeout_s, quiet=True)

        def one_round() -> tuple[bool, str]:
            answers: dict[str, Answers] = {}
            for group in _groups([name for name in addresses if links.open[name]]):
                answers |= fleet.each(send, group)
            links.take(
                answers, fleet.each(lambda host: host.ask(_arrived(listeners[host.name].folder), quiet=True), listeners)
            )
            return links.over, str(links)

        wait_for(
            "the nodes' ports are tried from each other",
            one_round,
            timeout_s=timeout_s,
            where=", ".join(addresses),
            next="these nodes answer slowly: raise wait_timeout in the parameters",
        )
    finally:
        fleet.each(clear, listeners)
    return {name: links.heard(name, ports, mtu[name]) for name in addresses}
