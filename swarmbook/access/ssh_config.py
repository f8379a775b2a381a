"""What OpenSSH has to know to reach the nodes, in its own words (ssh_config(5))."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from swarmbook.access.node import Endpoint, Node

__all__ = ["ssh_config_of"]


def ssh_config_of(nodes: Iterable[Node], key_file: Path, known_hosts: Path) -> str:
    """Return the content of a file for ``ssh -F``.

    Args:
        nodes: The nodes; a jump host is an entry of its own.
        key_file: The key to log in with.
        known_hosts: The pinned host keys.
    """
    files = {"IdentityFile": _quoted(key_file), "UserKnownHostsFile": _quoted(known_hosts)}
    return "".join(_entry(node, files) for node in nodes)


def _entry(node: Node, files: dict[str, str]) -> str:
    if node.jump is None:
        return _block(node.name, node.ssh, node.user, files)
    by = f"{node.name}.jump"  # a node's name has no dot
    through = {**files, "ProxyJump": by}
    return _block(by, node.jump.ssh, node.jump.user, files) + _block(node.name, node.ssh, node.user, through)


def _block(name: str, end: Endpoint, user: str, more: dict[str, str]) -> str:
    options = {
        "HostName": end.host,
        "Port": end.port,
        "User": user,
        "IdentitiesOnly": "yes",
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        **more,
    }
    return f"Host {name}\n" + "".join(f"  {key} {value}\n" for key, value in options.items())


def _quoted(path: Path) -> str:
    """Quote a path: a percent sign begins a token there, and a backslash escapes."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
