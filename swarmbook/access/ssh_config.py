"""What OpenSSH has to know to reach the nodes, in its own words (ssh_config(5))."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from swarmbook.access.node import Identity, Jump, Node

__all__ = ["ENVIRONMENT", "ssh_config_of"]

#: For an agent: the one that this variable of the environment names, whenever someone logs in.
ENVIRONMENT = "SSH_AUTH_SOCK"


def ssh_config_of(nodes: Iterable[Node], key_of: Callable[[Identity], Path], known_hosts: Path) -> str:
    """Return the content of a file for ``ssh -F``.

    Args:
        nodes: The nodes; a jump host is an entry of its own.
        key_of: Gives the file of a key: of one that an agent holds, that of its public part.
        known_hosts: The pinned host keys.
    """
    return "".join(_blocks(node.name, node, key_of, known_hosts) for node in nodes)


def _blocks(name: str, end: Node | Jump, key_of: Callable[[Identity], Path], known_hosts: Path) -> str:
    by = f"{name}.jump"  # a node's name has no dot
    first = _blocks(by, end.jump, key_of, known_hosts) if end.jump is not None else ""
    more = {"IdentityFile": _quoted(key_of(end.identity)), "UserKnownHostsFile": _quoted(known_hosts)}
    if agent := end.identity.agent:
        more["IdentityAgent"] = agent if agent == ENVIRONMENT else _quoted(Path(agent))
    if end.jump is not None:
        more["ProxyJump"] = by
    return first + _block(name, end, more)


def _block(name: str, end: Node | Jump, more: dict[str, str]) -> str:
    options = {
        "HostName": end.ssh.host,
        "Port": end.ssh.port,
        "User": end.user,
        "IdentitiesOnly": "yes",
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        **more,
    }
    return f"Host {name}\n" + "".join(f"  {key} {value}\n" for key, value in options.items())


def _quoted(path: Path) -> str:
    """Quote a path: a percent sign begins a token there, and a backslash escapes."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
