"""Phase 01, last step: is every machine fit for what comes, and do they reach each other? Nothing is changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from swarmbook.access.hosts import Host
from swarmbook.access.node import Node
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable
from swarmbook.params import Params
from swarmbook.params.kinds import near_name
from swarmbook.phases.provision.links import Heard, try_links
from swarmbook.phases.provision.preflight_probe import RESOLVES_S, Facts, about_node
from swarmbook.phases.support.outside import outside_checks
from swarmbook.phases.support.passing import await_start
from swarmbook.phases.support.ports import Port, Users, wanted_ports
from swarmbook.phases.support.systems import family_of

__all__ = ["judge", "preflight"]

#: Free bytes that the system's own disk should have: packages, logs, and what a container writes beside its volumes.
_FREE = 2 * 2**30
#: Seconds that the clocks of two nodes may differ: certificates begin to hold at a moment, and logs are read side by side.
_SKEW_S = 2.0
#: Seconds that a node's clock may differ from this computer's. Certificates are made here, and begin five minutes ago: on nodes
#: that are further behind, none of them would be valid yet.
_SKEW_FROM_HERE_S = 60.0
#: Who may hold a port on a node that the book has been on before; the kernel's VXLAN has no name.
_OURS = {"dockerd", "docker-proxy", "containerd", "consul", "mariadbd", ""}
_ANY = {"0.0.0.0", "*", "::"}  # noqa: S104 - read, not bound


def _ask(host: Host, nodes: Sequence[Node], params: Params) -> Facts:
    await_start(host, params.wait_timeout)  # which opens the connection: its time is not the clock's
    facts = host.ask(about_node([node.name for node in nodes if node.name != host.name]))
    ports = (params.docker_api_port, params.consul_https_port)
    tunnelled = [port for port in ports if host.node.tunnelled(port)]
    return replace(facts, barred=tuple((p, why) for p in tunnelled if (why := host.refuses_forward("127.0.0.1", p))))


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
        rows += _links(
            params, node, nodes, heard[node.name], {other.name for other in nodes if _shut_out(node, seen[other.name])}
        )
    return rows


def _shut_out(node: Node, other: Facts) -> bool:
    """Tell whether a wall of ours stands on another node and does not know this one yet; 03 tells it before it joins."""
    return bool(other.admits) and node.private_address not in other.admits


def _among_nodes(params: Params) -> list[Port]:
    return [port for port in wanted_ports(params) if Users.NODES in port.users]


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
        *(
            [Check(node.name, "packages, to know", "-", f"{facts.packages} at work; 02 and 03 wait for it", True)]
            if facts.packages
            else []
        ),
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
    named = ", ".join(near_name(seen[n.name].hostname) for n in nodes)
    barred = ", ".join(f"{port} ({why})" for port, why in facts.barred)
    forwarded = [
        _row(
            node,
            "SSH forwards connections",
            "to the engine's API and Consul's",
            f"not to {barred}" if barred else "so it does",
            not barred,
            "AllowTcpForwarding local in its sshd_config, and no PermitOpen, restrict or no-port-forwarding against it; systemctl reload ssh",
            code=Code.FORWARDING_REFUSED,
        )
    ]
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
    far = abs(facts.clock[0]) > _SKEW_FROM_HERE_S + facts.clock[1]
    off = {name: by for name, by in ahead.items() if abs(by) > _SKEW_S + facts.clock[1] + seen[name].clock[1]}
    return [
        *(forwarded if node.tunnel else []),
        _row(
            node,
            "hostname",
            node.name,
            short,
            near_name(facts.hostname) == node.name,
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
        Check(
            node.name,
            "name servers, to know",
            "-",
            f"no answer within {RESOLVES_S} s for {', '.join(facts.unanswered)}: what has to be fetched by name will fail; look at /etc/resolv.conf"
            if facts.unanswered
            else "they answer, or no one has to be asked",
            True,
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
        _row(
            node,
            "clock, from here",
            f"within {_SKEW_FROM_HERE_S:g} s of this computer's",
            f"{abs(facts.clock[0]):.0f} s {'ahead of' if facts.clock[0] > 0 else 'behind'} it" if far else "so it is",
            not far,
            "set this computer's clock, or the nodes': timedatectl set-ntp true, or install chrony",
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


def _links(params: Params, node: Node, nodes: Sequence[Node], heard: Heard, later: Collection[str]) -> list[Check]:
    others = {
        other.name: other.private_address for other in nodes if other.name != node.name and other.name not in later
    }
    closed = {name: ", ".join(map(str, heard.closed[name])) for name in others if heard.closed.get(name)}
    split = [name for name in others if heard.full.get(name) is False]
    all_ports = len(_among_nodes(params)) * len(others)
    tried = sum(heard.tried.get(name, 0) for name in others)
    # What was not tried is not said to be reached.
    fine = (
        "reached"
        if tried == all_ports
        else f"{tried} of {all_ports} tried, which are reached; no test listener runs where the book has been before"
    )
    if later:
        known = fine if others else "not tried"
        fine = f"{known}; the wall of {', '.join(sorted(later))} lets it in when 03 has run"
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
    seen = book.fleet.each(lambda host: _ask(host, nodes, book.params))
    ports = _among_nodes(book.params)
    busy = {node.name: frozenset(held(ports, seen[node.name], node.private_address)) for node in nodes}
    mtu = {
        node.name: seen[node.name].mtu.get(seen[node.name].addresses.get(node.private_address, ""), 1500)
        for node in nodes
    }
    # Where an address is not a node's own, nothing can listen at it: the row above says so.
    there = [node for node in nodes if node.private_address in seen[node.name].addresses]
    # Nor where the book has been before: an engine that is just starting would find its ports taken, and its swarm would not come up.
    heard = try_links(
        book.fleet,
        there,
        ports,
        busy,
        mtu,
        [name for name, facts in seen.items() if facts.ours],
        timeout_s=book.params.wait_timeout,
    )
    rows = judge(book.params, nodes, seen, {node.name: heard.get(node.name, Heard()) for node in nodes})
    return CheckTable([*rows, *outside_checks(book, before_wall=True)])
