"""Phase 06: the overlay network."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, network, number, word
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.params import Params
from swarmbook.phases.support import stack
from swarmbook.phases.support.esp import HAS_ESP
from swarmbook.phases.support.preconditions import require_swarm

__all__ = ["Network", "Overlay", "create", "network_named"]

#: What VXLAN's headers take from every packet (RFC 7348: outer IP 20, UDP 8, VXLAN 8, inner Ethernet 14).
VXLAN_BYTES = 50
#: What the engine takes off for an encrypted overlay, before it rounds down: SPI 4, sequence number 4, IV 8, padding and next header 2,
#: checksum 8. https://github.com/moby/moby/blob/v26.1.4/libnetwork/drivers/overlay/encryption.go
ESP_BYTES = 26
_ESP_ROUNDS_TO = 4
#: MTU of a network card that nothing else was said of, bytes.
_ETHERNET = 1500
#: The engine's option names the MTU below the tunnel: its overlay driver takes VXLAN's bytes off by itself.
_MTU_OPTION = "com.docker.network.driver.mtu"
#: Set, with whatever value, it encrypts.
_ENCRYPTED_OPTION = "encrypted"


@dataclass(frozen=True)
class Network:
    """The overlay network as it should be, or is: name, subnet, MTU in bytes, driver, whether it is encrypted."""

    name: str
    subnet: str
    mtu: int
    driver: str = "overlay"
    encrypted: bool = False

    def __str__(self) -> str:
        return f"{self.driver}, {self.subnet}, MTU {self.mtu}, {'encrypted' if self.encrypted else 'not encrypted'}"


@dataclass(frozen=True)
class Overlay:
    """What there is.

    Args:
        routes: Per node, the networks it has routes to.
        mtu: Per node, the MTU of the interface that carries its private address, bytes.
        network: The network of the wanted name; None when there is none.
        esp: Per node, whether its kernel can encrypt an overlay.
    """

    routes: Mapping[str, tuple[str, ...]]
    mtu: Mapping[str, int]
    network: Network | None = None
    esp: Mapping[str, bool] = field(default_factory=dict)


_LINKS = sh("ip -j -4 route | as routes; ip -j -4 addr | as addresses; { @!{esp} && echo yes; } | as esp", esp=HAS_ESP)


def links(address: str) -> Probe[tuple[tuple[str, ...], int, bool]]:
    """Ask for the networks that a node has routes to, the MTU of its link, bytes, and whether its kernel has ESP.

    Args:
        address: The node's private address: its link is the one that carries it.
    """

    def read(facts: Facts) -> tuple[tuple[str, ...], int, bool]:
        routes, interfaces = (json.loads("".join(facts[name])) for name in ("routes", "addresses"))
        mtu = next(i["mtu"] for i in interfaces if any(a.get("local") == address for a in i["addr_info"]))
        nets = tuple(network(r["dst"]) for r in routes if r["dst"] != "default")
        return nets, number(mtu, 1 << 20), any(facts["esp"])

    return Probe(_LINKS, read)


def inner_mtu(below: int, encrypted: bool) -> int:
    """Return the MTU of an overlay's containers, as the engine makes it of the MTU below the tunnel, bytes."""
    if not encrypted:
        return below - VXLAN_BYTES
    mtu = below - VXLAN_BYTES - ESP_BYTES
    return mtu - mtu % _ESP_ROUNDS_TO


def network_named(name: str) -> Probe[Network | None]:
    """Ask for a network of the swarm; None when there is none of that name."""

    def read(facts: Facts) -> Network | None:
        found = json.loads("".join(facts["network"]) or "[]")
        if not found:
            return None
        options = found[0]["Options"] or {}
        below, encrypted = number(options.get(_MTU_OPTION, _ETHERNET), 1 << 20), _ENCRYPTED_OPTION in options
        subnet = network(found[0]["IPAM"]["Config"][0]["Subnet"])
        return Network(name, subnet, inner_mtu(below, encrypted), word(str(found[0]["Driver"])), encrypted)

    return Probe(sh("docker network inspect @{name} 2>/dev/null | as network", name=name), read)


class Create(Step[Overlay, Network]):
    """Make the overlay network.

    Raises:
        UsageError: Its subnet overlaps a network of a node; both are named.
        WorldError: A network of that name is there, with another subnet or MTU; or it is to be encrypted, and a kernel has no ESP.
    """

    name = "overlay network"

    def observe(self, book: Book) -> Overlay:
        manager = require_swarm(book)
        addresses = {node.name: node.private_address for node in book.nodes}
        seen = book.fleet.each(lambda host: host.ask(links(addresses[host.name])))
        routes = {name: found for name, (found, _, _) in seen.items()}
        mtu = {name: found for name, (_, found, _) in seen.items()}
        esp = {name: found for name, (_, _, found) in seen.items()}
        return Overlay(routes, mtu, book.fleet[manager].ask(network_named(book.params.overlay_network)), esp)

    def want(self, book: Book, seen: Overlay) -> Network:
        return wanted_network(book.params, seen)

    def plan(self, wanted: Network, seen: Overlay) -> list[Change]:
        if seen.network is not None:
            if seen.network != wanted:
                raise WorldError(
                    f"a network {wanted.name} is there and is another one",
                    where=wanted.name,
                    wanted=str(wanted),
                    seen=str(seen.network),
                    next="choose another overlay_network or put the parameters back; a network cannot be changed "
                    "while a database lives on it",
                )
            return []
        if wanted.encrypted and (lacking := [name for name, there in seen.esp.items() if not there]):
            raise WorldError(
                f"no ESP in the kernel of {', '.join(lacking)}: an encrypted overlay would carry no packet there",
                where=", ".join(lacking),
                wanted="ESP with AES-GCM in every node's kernel",
                seen="ip xfrm state add refuses it",
                next="modprobe esp4, or a kernel that has it; or overlay_encrypted: auto",
            )
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
        encrypted = (_ENCRYPTED_OPTION,) if wanted.encrypted else ()
        return [Change("cluster", Action.CREATE_NETWORK, (wanted.name, wanted.subnet, str(wanted.mtu), *encrypted))]

    def apply(self, book: Book, wanted: Network, seen: Overlay, changes: list[Change]) -> None:
        with Todo(changes) as todo:
            for change in todo.take(Action.CREATE_NETWORK):
                name, subnet, mtu, *encrypted = change.things
                below = int(mtu) + VXLAN_BYTES + (ESP_BYTES if encrypted else 0)
                options = [f"{_MTU_OPTION}={below}", *encrypted]
                book.fleet[require_swarm(book)].run(
                    sh(
                        "docker network create --driver overlay --attachable --subnet @{subnet} @{options} "
                        "--label @{label} @{name} >/dev/null",
                        subnet=subnet,
                        options=[word for option in options for word in ("--opt", option)],
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
            equal("cluster", "encrypted", "yes" if wanted.encrypted else "no", "yes" if there.encrypted else "no"),
        ]

    def assume(self, ahead: Forecast, params: Params, seen: Overlay | None) -> Overlay:
        return seen or Overlay({}, dict.fromkeys(params.nodes, _ETHERNET))


def wanted_network(params: Params, seen: Overlay) -> Network:
    """Return the network by the parameters.

    Its MTU is theirs, or the smallest of the nodes' less the headers. Where the parameters leave it open, a network that is there stays
    encrypted or not as it is, and a new one is encrypted where every node can.
    """
    if params.overlay_encrypted == "auto":
        encrypted = seen.network.encrypted if seen.network else bool(seen.esp) and all(seen.esp.values())
    else:
        encrypted = params.overlay_encrypted == "always"
    mtu = params.overlay_mtu or inner_mtu(min(seen.mtu.values()), encrypted)
    if encrypted:
        mtu -= mtu % _ESP_ROUNDS_TO
    return Network(params.overlay_network, str(ipaddress.ip_network(params.overlay_subnet)), mtu, encrypted=encrypted)


create = Create()
