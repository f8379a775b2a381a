"""Phase 06: the overlay network, and the proof that it carries packets of its full MTU between every two nodes."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass

from swarmbook.access.hosts import Host
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, UsageError, WorldError
from swarmbook.book.book import Book, Change, StepResult, converge, look
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.params import ParamView
from swarmbook.phases.support import stack
from swarmbook.phases.support.images import nodes_without_image, wanted_image
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.support.probes import Probes

__all__ = ["Overlay", "create", "plan_overlay", "reach"]

#: What VXLAN's headers take from every packet (RFC 7348: outer IP 20, UDP 8, VXLAN 8, inner Ethernet 14).
VXLAN_BYTES = 50
#: MTU of a network card that nothing else was said of, bytes.
_ETHERNET = 1500
#: The engine's option names the MTU below the tunnel: its overlay driver takes VXLAN's bytes off by itself.
_MTU_OPTION = "com.docker.network.driver.mtu"


@dataclass(frozen=True)
class Overlay:
    """The network as it is.

    Args:
        routes: Per node, the networks it has routes to.
        mtu: Per node, the MTU of the interface that carries its private address, bytes.
        subnet: Of the network; empty when it is not there.
        network_mtu: Of the network, bytes.
        driver: Of the network.
    """

    routes: Mapping[str, tuple[str, ...]]
    mtu: Mapping[str, int]
    subnet: str = ""
    network_mtu: int = 0
    driver: str = ""


def wanted_mtu(params: ParamView, seen: Overlay) -> int:
    """The overlay's MTU, bytes: the parameter's, or the smallest of the nodes' less VXLAN's headers."""
    return int(params.overlay_mtu or min(seen.mtu.values()) - VXLAN_BYTES)


def _observe(book: Book) -> Overlay:
    manager = require_swarm(book)
    addresses = {node.name: node.private_address for node in book.nodes}

    def one(host: Host) -> tuple[tuple[str, ...], int]:
        data = host.run("ip -j -4 route; ip -j -4 addr").stdout.splitlines()
        routes, interfaces = (json.loads(line) for line in data)
        own = addresses[host.name]
        mtu = next(i["mtu"] for i in interfaces if any(a.get("local") == own for a in i["addr_info"]))
        return tuple(r["dst"] for r in routes if r["dst"] != "default"), mtu

    seen = book.fleet.each(one)
    routes = {name: found for name, (found, _) in seen.items()}
    mtu = {name: found for name, (_, found) in seen.items()}
    listing = book.fleet[manager].run(f"docker network inspect {book.params.overlay_network} 2>/dev/null", check=False)
    if not listing.ok:
        return Overlay(routes, mtu)
    network = json.loads(listing.stdout)[0]
    return Overlay(
        routes,
        mtu,
        network["IPAM"]["Config"][0]["Subnet"],
        int((network["Options"] or {}).get(_MTU_OPTION, _ETHERNET)) - VXLAN_BYTES,
        network["Driver"],
    )


def plan_overlay(params: ParamView, seen: Overlay) -> list[Change]:
    """Changes that make the network; pure.

    Raises:
        UsageError: Its subnet overlaps a network that a node has a route to.
        WorldError: A network of that name is there, with another subnet or MTU.
    """
    wanted = ipaddress.ip_network(params.overlay_subnet)
    mtu = wanted_mtu(params, seen)
    if seen.subnet:
        if (seen.driver, seen.subnet, seen.network_mtu) != ("overlay", str(wanted), mtu):
            raise WorldError(
                f"a network {params.overlay_network} is there and is another one",
                where=params.overlay_network,
                wanted=f"overlay, {wanted}, MTU {mtu}",
                seen=f"{seen.driver}, {seen.subnet}, MTU {seen.network_mtu}",
                next="choose another overlay_network or put the parameters back; a network cannot be changed while a database lives on it",
            )
        return []
    for name, routes in seen.routes.items():
        for route in routes:
            if wanted.overlaps(ipaddress.ip_network(route, strict=False)):
                raise UsageError(
                    "the overlay's subnet overlaps a network of a node",
                    where=name,
                    wanted="networks that do not share an address",
                    seen=f"overlay_subnet {wanted}, and {name} has a route to {route}",
                    next="choose another overlay_subnet in the parameters",
                    code=Code.SUBNET_TAKEN,
                )
    detail = f"overlay {params.overlay_network}, {wanted}, MTU {mtu}"
    return [Change("cluster", "create", detail, {"name": params.overlay_network, "subnet": str(wanted), "mtu": mtu})]


def _apply(book: Book, seen: Overlay, changes: list[Change]) -> None:
    for change in changes:
        book.fleet[require_swarm(book)].run(
            f"docker network create --driver overlay --attachable --subnet {change.data['subnet']} --opt {_MTU_OPTION}={change.data['mtu'] + VXLAN_BYTES} "
            f"--label {stack.CLUSTER_LABEL}={book.cluster.name} {change.data['name']} >/dev/null"
        )


def create(book: Book) -> StepResult:
    """Have the overlay network.

    Raises:
        UsageError: Its subnet overlaps a network of a node; both are named.
    """

    def verify(params: ParamView, seen: Overlay) -> list[Check]:
        return [
            equal(
                "cluster",
                f"network {params.overlay_network}",
                f"overlay {params.overlay_subnet}",
                f"{seen.driver} {seen.subnet}",
            ),
            equal("cluster", "MTU", wanted_mtu(params, seen), seen.network_mtu),
        ]

    def suppose(book: Book, seen: Overlay | None) -> Overlay:
        return seen or Overlay({}, dict.fromkeys(book.params.nodes, _ETHERNET))

    return converge(
        book, observe=_observe, plan=plan_overlay, apply=_apply, verify=verify, what="overlay network", suppose=suppose
    )


def reach(book: Book) -> StepResult:
    """From a container on every node to one on every other: a packet of the full MTU passes, one byte more does not."""

    def checks(book: Book) -> CheckTable:
        manager = require_swarm(book)
        probe = book.fleet[manager].run(
            f"docker network inspect --format '{{{{index .Options \"{_MTU_OPTION}\"}}}}' {book.params.overlay_network}",
            check=False,
        )
        if not probe.ok:
            raise OutOfOrder(
                f"run the step before first: no network {book.params.overlay_network}",
                where=manager,
                next="swarmbook run PARAMS --from 06",
            )
        mtu = int(probe.stdout.strip() or _ETHERNET) - VXLAN_BYTES  # made by hand, it may have no such option
        lacking = nodes_without_image(book.engines(), wanted_image(book, "consul"))
        if lacking:
            raise OutOfOrder(
                f"run 04 first: no Consul on {', '.join(lacking)}",
                where=", ".join(lacking),
                wanted="the image the probes run from",
                next="swarmbook run PARAMS --from 04",
            )
        with Probes(book, book.params.overlay_network) as inside:
            # 28: headers of IP and ICMP. DF is set, so that what does not fit is refused and not cut in two.
            # Several tries: a node learns where an address lives from gossip, a moment after the container is up.
            # All at once: the kernel refuses what does not fit at once, but ping waits for its second all the same.
            one = (
                "(full=no; for i in 1 2 3 4 5; do ping -q -c 1 -W 1 -M do -s {fits} {address} >/dev/null 2>&1 && {{ full=yes; break; }}; sleep 0.2; done\n"
                "ping -q -c 1 -W 1 -M do -s {more} {address} >/dev/null 2>&1 && more=yes || more=no\n"
                "echo {name} $full $more) &\n"
            )
            others = inside.addresses.items()
            script = (
                "".join(
                    one.format(name=name, address=address, fits=mtu - 28, more=mtu - 27) for name, address in others
                )
                + "wait"
            )
            answers = book.fleet.each(lambda host: inside.ask(host, script, timeout_s=120))
        rows = []
        for name, lines in answers.items():
            seen = {line.split()[0]: tuple(line.split()[1:]) for line in lines if len(line.split()) == 3}
            for other in inside.addresses:
                if other != name:
                    full, more = seen.get(other, ("no answer", "no answer"))
                    rows.append(
                        equal(
                            name,
                            f"{mtu} bytes to {other}, and {mtu + 1}",
                            "passes, does not",
                            f"{'passes' if full == 'yes' else 'does not'}, {'passes' if more == 'yes' else 'does not'}",
                        )
                    )
        return CheckTable(rows)

    return look(book, checks)
