"""A stranger: a container on the nodes' own network that is no node. What it gets into, anyone who reaches that network does."""

from __future__ import annotations

import base64
import ipaddress
import json
import struct
from collections.abc import Iterable

from .conftest import LABEL, Lab, Machine

#: Seconds. What a wall drops takes all of it.
_TRY_S = 2


def say(lab: Lab, script: str, network: str) -> str:
    """What a script prints that runs in a stranger, which goes with it."""
    image = next(tag for image in lab.docker.images.list("swarmbook/node") for tag in image.tags)
    said: bytes = lab.docker.containers.run(
        image, ["-c", script], entrypoint="bash", network=network, labels={LABEL: lab.name}, remove=True
    )
    return said.decode()


def gets_into(lab: Lab, addresses: Iterable[str], ports: Iterable[int], network: str = "") -> list[str]:
    """The TCP ports, as ``ADDRESS:PORT``, from which a stranger gets any answer: a refusal is one."""
    tries = [
        f"(timeout {_TRY_S} bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null; [ $? = 124 ] || echo {address}:{port}) &"
        for address in addresses
        for port in ports
    ]
    return sorted(say(lab, "\n".join([*tries, "wait"]), network or f"swarmbook-{lab.name}").split())


def is_answered(lab: Lab, address: str) -> bool:
    """Whether a node's DNS answers a stranger's datagram, whatever it says."""
    name = b"".join(bytes([len(part)]) + part for part in (b"consul", b"service", b"consul"))
    query = base64.b64encode(struct.pack("!6H", 0x5742, 0x0100, 1, 0, 0, 0) + name + b"\0\0\1\0\1").decode()
    script = f"exec 3<>/dev/udp/{address}/53; base64 -d <<< {query} >&3; timeout {_TRY_S} dd bs=512 count=1 status=none <&3 | wc -c"
    return int(say(lab, script, f"swarmbook-{lab.name}")) > 0


def _sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def frame(vni: int, mac: str, source: str, to: str) -> bytes:
    """A VXLAN datagram (RFC 7348) whose frame carries a ping from one address of the overlay to another."""
    echo = struct.pack("!BBHHH", 8, 0, 0, 0x5742, 1)
    echo = echo[:2] + struct.pack("!H", _sum(echo)) + echo[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(echo), 1, 0, 64, 1, 0)
    head += ipaddress.ip_address(source).packed + ipaddress.ip_address(to).packed
    head = head[:10] + struct.pack("!H", _sum(head)) + head[12:]
    ethernet = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("0242c0000201") + b"\x08\x00"
    return struct.pack("!BBHI", 8, 0, 0, vni << 8) + ethernet + head + echo


def pings(machine: Machine, id: str) -> int:
    """How many pings have arrived in a container."""
    names, values = (
        line.split()[1:] for line in machine.sh(f"docker exec {id} grep ^Icmp: /proc/net/snmp").splitlines()
    )
    return int(values[names.index("InEchos")])


def smuggled(lab: Lab, machine: Machine, id: str, address: str, overlay: str = "backend", copies: int = 5) -> int:
    """How many pings a stranger gets into a container by sending VXLAN to its node.

    Args:
        lab: The lab.
        machine: The container's node.
        id: The container.
        address: The node's, among the nodes.
        overlay: The network that the container is on.
        copies: How many it sends; each may be lost.
    """
    network = json.loads(machine.sh(f"docker network inspect {overlay}"))[0]
    vni = int(network["Options"]["com.docker.network.driver.overlay.vxlanid_list"])
    inside = json.loads(machine.sh(f"docker inspect {id}"))[0]["NetworkSettings"]["Networks"][overlay]
    subnet = ipaddress.ip_network(network["IPAM"]["Config"][0]["Subnet"])
    sent = base64.b64encode(frame(vni, inside["MacAddress"], str(subnet[250]), inside["IPAddress"])).decode()
    before = pings(machine, id)
    say(
        lab,
        f"exec 3>/dev/udp/{address}/4789; for i in $(seq {copies}); do base64 -d <<< {sent} | dd bs=4096 iflag=fullblock status=none >&3; sleep 0.05; done",
        f"swarmbook-{lab.name}",
    )
    return pings(machine, id) - before
