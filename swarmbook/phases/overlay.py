"""Phase 06: the overlay network, and the proof that it carries packets of its full MTU between every two nodes."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass

from swarmbook.access.commands import Script, lines, sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Facts, Probe, network, number, word
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, UsageError, WorldError
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step, look
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.params import Params
from swarmbook.phases.support import stack
from swarmbook.phases.support.images import image_of, nodes_without_image
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.support.probes import Probes

__all__ = ["Network", "Overlay", "create", "reach"]

#: What VXLAN's headers take from every packet (RFC 7348: outer IP 20, UDP 8, VXLAN 8, inner Ethernet 14).
VXLAN_BYTES = 50
#: MTU of a network card that nothing else was said of, bytes.
_ETHERNET = 1500
#: The engine's option names the MTU below the tunnel: its overlay driver takes VXLAN's bytes off by itself.
_MTU_OPTION = "com.docker.network.driver.mtu"


@dataclass(frozen=True)
class Network:
    """The overlay network as it should be, or is: name, subnet, MTU in bytes, driver."""

    name: str
    subnet: str
    mtu: int
    driver: str = "overlay"


@dataclass(frozen=True)
class Overlay:
    """What there is.

    Args:
        routes: Per node, the networks it has routes to.
        mtu: Per node, the MTU of the interface that carries its private address, bytes.
        network: The network of the wanted name; None when there is none.
    """

    routes: Mapping[str, tuple[str, ...]]
    mtu: Mapping[str, int]
    network: Network | None = None


_LINKS = sh("ip -j -4 route | as routes; ip -j -4 addr | as addresses")


def links(address: str) -> Probe[tuple[tuple[str, ...], int]]:
    """Ask for the networks that a node has routes to, and the MTU of its link, bytes.

    Args:
        address: The node's private address: its link is the one that carries it.
    """

    def read(facts: Facts) -> tuple[tuple[str, ...], int]:
        routes, interfaces = (json.loads("".join(facts[name])) for name in ("routes", "addresses"))
        mtu = next(i["mtu"] for i in interfaces if any(a.get("local") == address for a in i["addr_info"]))
        return tuple(network(r["dst"]) for r in routes if r["dst"] != "default"), number(mtu, 1 << 20)

    return Probe(_LINKS, read)


def network_named(name: str) -> Probe[Network | None]:
    """Ask for a network of the swarm; None when there is none of that name."""

    def read(facts: Facts) -> Network | None:
        found = json.loads("".join(facts["network"]) or "[]")
        if not found:
            return None
        mtu = number((found[0]["Options"] or {}).get(_MTU_OPTION, _ETHERNET), 1 << 20) - VXLAN_BYTES
        return Network(name, network(found[0]["IPAM"]["Config"][0]["Subnet"]), mtu, word(str(found[0]["Driver"])))

    return Probe(sh("docker network inspect @{name} 2>/dev/null | as network", name=name), read)


class Create(Step[Overlay, Network]):
    """Make the overlay network.

    Raises:
        UsageError: Its subnet overlaps a network of a node; both are named.
        WorldError: A network of that name is there, with another subnet or MTU.
    """

    name = "overlay network"

    def observe(self, book: Book) -> Overlay:
        manager = require_swarm(book)
        addresses = {node.name: node.private_address for node in book.nodes}
        seen = book.fleet.each(lambda host: host.ask(links(addresses[host.name])))
        routes = {name: found for name, (found, _) in seen.items()}
        mtu = {name: found for name, (_, found) in seen.items()}
        return Overlay(routes, mtu, book.fleet[manager].ask(network_named(book.params.overlay_network)))

    def want(self, book: Book, seen: Overlay) -> Network:
        return wanted_network(book.params, seen)

    def plan(self, wanted: Network, seen: Overlay) -> list[Change]:
        if seen.network is not None:
            if seen.network != wanted:
                raise WorldError(
                    f"a network {wanted.name} is there and is another one",
                    where=wanted.name,
                    wanted=f"{wanted.driver}, {wanted.subnet}, MTU {wanted.mtu}",
                    seen=f"{seen.network.driver}, {seen.network.subnet}, MTU {seen.network.mtu}",
                    next="choose another overlay_network or put the parameters back; a network cannot be changed "
                    "while a database lives on it",
                )
            return []
        subnet = ipaddress.ip_network(wanted.subnet)
        for name, routes in seen.routes.items():
            for route in routes:
                if subnet.overlaps(ipaddress.ip_network(route, strict=False)):
                    raise UsageError(
                        "the overlay's subnet overlaps a network of a node",
                        where=name,
                        wanted="networks that do not share an address",
                        seen=f"overlay_subnet {wanted.subnet}, and {name} has a route to {route}",
                        next="choose another overlay_subnet in the parameters",
                        code=Code.SUBNET_TAKEN,
                    )
        return [Change("cluster", Action.CREATE_NETWORK, (wanted.name, wanted.subnet, str(wanted.mtu)))]

    def apply(self, book: Book, wanted: Network, seen: Overlay, changes: list[Change]) -> None:
        with Todo(changes) as todo:
            for change in todo.take(Action.CREATE_NETWORK):
                name, subnet, mtu = change.things
                book.fleet[require_swarm(book)].run(
                    sh(
                        "docker network create --driver overlay --attachable --subnet @{subnet} --opt @{option} "
                        "--label @{label} @{name} >/dev/null",
                        subnet=subnet,
                        option=f"{_MTU_OPTION}={int(mtu) + VXLAN_BYTES}",
                        label=f"{stack.CLUSTER_LABEL}={book.cluster.name}",
                        name=name,
                    )
                )

    def verify(self, wanted: Network, seen: Overlay) -> list[Check]:
        there = seen.network or Network(wanted.name, "none", 0, "no")
        return [
            equal(
                "cluster",
                f"network {wanted.name}",
                f"{wanted.driver} {wanted.subnet}",
                f"{there.driver} {there.subnet}",
            ),
            equal("cluster", "MTU", wanted.mtu, there.mtu),
        ]

    def assume(self, ahead: Forecast, params: Params, seen: Overlay | None) -> Overlay:
        return seen or Overlay({}, dict.fromkeys(params.nodes, _ETHERNET))


def wanted_network(params: Params, seen: Overlay) -> Network:
    """Return the network by the parameters; its MTU is theirs, or the smallest of the nodes' less VXLAN's headers."""
    mtu = params.overlay_mtu or min(seen.mtu.values()) - VXLAN_BYTES
    return Network(params.overlay_network, str(ipaddress.ip_network(params.overlay_subnet)), mtu)


create = Create()


# Several tries: a node learns where an address lives from gossip, a moment after the container is up.
# All at once: the kernel refuses what does not fit at once, but ping waits for its second all the same.
_PING = """(full=no; for i in 1 2 3 4 5; do ping -q -c 1 -W 1 -M do -s @{fits} @{address} >/dev/null 2>&1 && { full=yes; break; }; sleep 0.2; done
ping -q -c 1 -W 1 -M do -s @{more} @{address} >/dev/null 2>&1 && more=yes || more=no
echo @{name} $full $more) &
"""


def _pings(addresses: Mapping[str, str], mtu: int) -> Script:
    """Send one packet that fits and one that does not to every address; DF is set, so that nothing is cut in two.

    Args:
        addresses: By the name of their node.
        mtu: Of the network, bytes; 28 of them are headers of IP and ICMP.
    """
    every = [sh(_PING, name=name, address=address, fits=mtu - 28, more=mtu - 27) for name, address in addresses.items()]
    return lines(*every, sh("wait"))


@look()
def reach(book: Book) -> CheckTable:
    """Ping every node's container from every other's: a packet of the full MTU passes, one byte more does not."""
    manager = require_swarm(book)
    found = book.fleet[manager].ask(network_named(book.params.overlay_network))
    if found is None:
        raise OutOfOrder(
            f"run the step before first: no network {book.params.overlay_network}",
            where=manager,
            next="swarmbook run PARAMS --from 06",
        )
    lacking = nodes_without_image(book.engines(), image_of(book, "consul"))
    if lacking:
        raise OutOfOrder(
            f"run 04 first: no Consul on {', '.join(lacking)}",
            where=", ".join(lacking),
            wanted="the image the probes run from",
            next="swarmbook run PARAMS --from 04",
        )
    with Probes(book, found.name) as inside:
        script = _pings(inside.addresses, found.mtu)

        def one(host: Host) -> list[str]:
            return inside.ask(host, script, timeout_s=120)

        answers = book.fleet.each(one)
    rows = []
    for name, answer in answers.items():
        seen = {line.split()[0]: tuple(line.split()[1:]) for line in answer if len(line.split()) == 3}
        for other in inside.addresses:
            if other != name:
                full, more = ("passes" if word == "yes" else "does not" for word in seen.get(other, ("no", "no")))
                check = f"{found.mtu} bytes to {other}, and {found.mtu + 1}"
                rows.append(equal(name, check, "passes, does not", f"{full}, {more}"))
    return CheckTable(rows)
