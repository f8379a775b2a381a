"""A node's name servers, read from resolv.conf as its resolver reads them."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts

__all__ = ["RESOLV_CONF", "for_containers", "nameservers"]

#: Gives the facts ``resolver`` and ``resolved``, which :func:`nameservers` reads. The second is systemd's, of what it asks itself.
RESOLV_CONF = sh(
    "cat /etc/resolv.conf 2>/dev/null | as resolver\ncat /run/systemd/resolve/resolv.conf 2>/dev/null | as resolved"
)
#: glibc looks at no more (MAXNS).
_MOST = 3
_FOUR = re.compile(r"[0-9a-fA-Fx.]{1,40}")


def nameservers(facts: Facts) -> tuple[str, ...]:
    """Read the name servers that a node asks.

    Those that its own service on the loopback asks come with it: no one but the node reaches that one. What is no address is
    passed over, as the resolver does.
    """
    own = _read(facts["resolver"])
    behind = _read(facts.get("resolved", ())) if own and all(ip_address(a).is_loopback for a in own) else ()
    return tuple(dict.fromkeys((*own, *behind)))


def _read(lines: Iterable[str]) -> tuple[str, ...]:
    """Parse as glibc does: the word at the very beginning, blanks or tabs, an address; nothing that follows counts."""
    found = []
    for line in lines:
        keyword, *rest = re.split(r"[ \t]+", line.rstrip("\r\n"), maxsplit=1)
        if keyword == "nameserver" and rest and (address := _address(re.split(r"[ \t]", rest[0])[0])):
            found.append(address)
    return tuple(found[:_MOST])


def _address(text: str) -> str:
    """Return an address as everyone writes it; empty for none, and for one that needs a link to be named."""
    try:
        if ":" in text:
            return str(IPv6Address(text)) if "%" not in text else ""
        # 10.1 is 10.0.0.1, and 010 is octal, to the resolver and to no one else.
        return socket.inet_ntoa(socket.inet_aton(text)) if _FOUR.fullmatch(text) else ""
    except (OSError, ValueError):
        return ""


def for_containers(addresses: Iterable[str]) -> list[str]:
    """List those that a container reaches too, and that an engine takes."""
    parsed = ((text, ip_address(text)) for text in addresses)
    return [
        text
        for text, a in parsed
        if not (a.is_loopback or a.is_unspecified or a.is_link_local or a.is_multicast or text == "255.255.255.255")
    ]
