"""The cluster's ports as this computer sees them, which is no node: those that it gets into, others get into as well."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable, Sequence

from swarmbook.access.fleet import fan_out
from swarmbook.access.node import Node
from swarmbook.base.codes import Code
from swarmbook.book.book import Book
from swarmbook.model.checks import Check
from swarmbook.params import Params
from swarmbook.phases.support.ports import Port, Users, wanted_ports

__all__ = ["judge_outside", "looked_at", "outside_checks"]

#: How long a connection may take, seconds. What a wall drops takes all of it.
_TRY_S = 2
_NAME = "its ports, from this computer"


def _unseen(node: Node) -> str:
    """Say why a node's ports are not looked at from here; empty where they are."""
    if node.near:
        return "this computer is on the nodes' own network"
    if node.jump is not None:
        return "it is behind a jump host"
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(node.public_address).is_loopback:
            return "only its SSH is forwarded to this computer"
    return ""


def _connects(address: str, port: int) -> str:
    """Return the address from which a connection was made; empty where none is."""
    try:
        with socket.create_connection((address, port), timeout=_TRY_S) as made:
            return str(made.getsockname()[0])
    except OSError:
        return ""


def _is_client(source: str, node: Node, networks: Iterable[str]) -> bool:
    """Tell whether a node may take this computer for one of the database's clients.

    On the way to a public address this computer may appear as any other public one.
    """
    clients = [ipaddress.ip_network(network) for network in networks]
    if any(ipaddress.ip_address(source) in client for client in clients):
        return True
    with contextlib.suppress(ValueError):
        return not ipaddress.ip_address(node.public_address).is_private and any(not c.is_private for c in clients)
    return False


def judge_outside(params: Params, node: Node, opened: Sequence[Port], *, before_wall: bool) -> Check:
    """Compare what this computer gets into with what it should; pure.

    Args:
        params: The parameters.
        node: The node.
        opened: Ports that took a connection, and are not for this computer.
        before_wall: Whether the wall is still to come: then it is a finding, and no failure.
    """
    if why := _unseen(node):
        return Check(node.name, _NAME, "-", f"not looked at: {why}", True)
    listed = ", ".join(f"{port} ({port.what})" for port in opened)
    if not opened:
        return Check(node.name, _NAME, "shut", "shut", True)
    if not params.walled():
        return Check(node.name, _NAME, "-", f"open at {node.public_address}: {listed}; no wall (firewall: never)", True)
    seen = f"open at {node.public_address}: {listed}"
    if before_wall:
        return Check(node.name, _NAME, "shut when 03 has run", f"{seen}; 03 shuts them", True)
    return Check(node.name, _NAME, "shut", f"{seen}; run 03 again", False, Code.PORTS_OPEN)


def looked_at(params: Params, nodes: Sequence[Node], ports: Sequence[Port], *, before_wall: bool) -> list[Check]:
    """Try ports at each node's public address, all at once.

    Args:
        params: The parameters.
        nodes: Which nodes.
        ports: Those of TCP are tried.
        before_wall: See :func:`judge_outside`.
    """
    tries = {
        f"{node.name} {port.number}": (node, port)
        for node in nodes
        if not _unseen(node)
        for port in ports
        if port.protocol == "tcp"
    }

    def one(found: tuple[Node, Port]) -> bool:
        node, port = found
        source = _connects(node.public_address, port.number)
        return bool(source) and not (Users.CLIENTS in port.users and _is_client(source, node, params.mariadb_clients))

    opened = [tries[name] for name, is_open in fan_out(one, tries).items() if is_open]
    return [
        judge_outside(params, node, [port for other, port in opened if other is node], before_wall=before_wall)
        for node in nodes
    ]


def outside_checks(book: Book, *, before_wall: bool) -> list[Check]:
    """Try the cluster's TCP ports at each node's public address.

    Nothing answers to a datagram, so those for UDP cannot be tried; the same rules shut them.

    Args:
        book: The open book.
        before_wall: See :func:`judge_outside`.
    """
    return looked_at(book.params, book.nodes, wanted_ports(book.params), before_wall=before_wall)
