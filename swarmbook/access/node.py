"""A node, and where it is reached: all that the phases know of a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Endpoint", "Identity", "Jump", "Node", "known_name"]


@dataclass(frozen=True)
class Endpoint:
    """Where something is reached from here."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Identity:
    """The key with which someone logs in; with nothing in it, the cluster's own.

    Args:
        file: A private key of its owner's, which stays where it is.
        public: The public part of one that an agent holds, type and key.
        agent: Where that agent listens: the path of its socket, or ``SSH_AUTH_SOCK`` for the one that this variable names.
    """

    file: str = ""
    public: str = ""
    agent: str = ""

    @property
    def own(self) -> bool:
        """Whether it is the cluster's own key."""
        return not self.file and not self.public


@dataclass(frozen=True)
class Jump:
    """The SSH server by way of which a node is reached; its host key is pinned too.

    Args:
        ssh: Where it listens.
        host_key: Type and key, pinned.
        user: Who logs in.
        identity: With which key.
        jump: By way of which one it is reached itself.
    """

    ssh: Endpoint
    host_key: str
    user: str = "root"
    identity: Identity = Identity()
    jump: Jump | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Jump:
        """Build a jump host from its entry in ``cluster.json``."""
        return cls(
            **{
                **data,
                "ssh": Endpoint(**data["ssh"]),
                "identity": Identity(**data.get("identity", {})),
                "jump": Jump.from_json(further) if (further := data.get("jump")) else None,
            }
        )


@dataclass(frozen=True)
class Node:
    """One machine, as phases see it: nothing in it says where it came from.

    Args:
        name: Its name, in the parameters and of itself.
        id: What its provider knows it by.
        private_address: Where the other nodes reach it.
        public_address: Where it is reached from here.
        ssh: Its SSH server; behind a jump host, as that one sees it.
        host_key: Type and key, pinned.
        user: Who logs in.
        disk: Its second disk, where the provider knows it.
        ports: Where ports of it are reached from here, if not at its public address.
        jump: By way of which SSH server.
        tunnel: Whether its other ports are reached through SSH alone.
        near: Address of this computer in the nodes' own network, where it has one and reaches their ports from there.
        identity: With which key it is logged in to.
    """

    name: str
    id: str
    private_address: str
    public_address: str
    ssh: Endpoint
    host_key: str
    user: str = "root"
    disk: str = ""
    ports: Mapping[int, Endpoint] = field(default_factory=dict)
    jump: Jump | None = None
    tunnel: bool = False
    near: str = ""
    identity: Identity = Identity()

    def tunnelled(self, port: int) -> bool:
        """Tell whether a port of this node is reached through SSH; :meth:`swarmbook.book.book.Book.reach` does it."""
        return self.tunnel and port not in self.ports

    def reach(self, port: int) -> Endpoint:
        """Return the address at which a port of this node is reached from here without a tunnel."""
        return self.ports.get(port) or Endpoint(self.public_address, port)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Node:
        """Build a node from its entry in ``cluster.json``."""
        return cls(
            **{
                **data,
                "ssh": Endpoint(**data["ssh"]),
                "ports": {int(port): Endpoint(**end) for port, end in data["ports"].items()},
                "jump": Jump.from_json(jump) if (jump := data.get("jump")) else None,
                "identity": Identity(**data.get("identity", {})),
            }
        )


def known_name(end: Endpoint) -> str:
    """Return the name that OpenSSH looks for in ``known_hosts``: in brackets only where the port is not 22."""
    return end.host if end.port == 22 else f"[{end.host}]:{end.port}"
